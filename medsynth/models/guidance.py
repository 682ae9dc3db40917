"""Classifier-free guidance: away from what an unasked network would do, inside an interval.

Each attribute may have its own weight. Attributes are asked one group of equal weight after the
other; with outputs u_0 (nothing asked, or the negative condition), u_1, ..., u_K (all asked) and
weights w_1 ... w_K,

    u = u_0 + w_1 (u_1 - u_0) + ... + w_K (u_K - u_{K-1}),

so that equal weights are plain guidance, and a pass whose coefficient is 0 is not made.
References: Ho & Salimans, 2022; Brooks et al., "InstructPix2Pix", 2023, equation 3 (several
weights); Kynkaanniemi et al., "Applying Guidance in a Limited Interval", 2024; Lin et al.,
"Common Diffusion Noise Schedules and Sample Steps are Flawed", 2024, section 3.4 (rescale).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from medsynth.core.schema import Attributes
from medsynth.models.sampler import Predict

Denoise = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(latents, times, condition, spans) to the network's output."""


@dataclass(frozen=True)
class Guidance:
    """A weight for all attributes but those in `weights`; 1 is off and costs one pass.

    `low` and `high` bound the times with guidance. `negative` is what to move away from in place
    of nothing. `rescale` (0 to 1) brings the spread back to that of the network's own output.
    """

    weight: float = 1.0
    low: float = 0.1
    high: float = 0.9
    weights: Mapping[str, float] = field(default_factory=dict)
    negative: Attributes = field(default_factory=dict)
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(
                f"guidance needs times 0 <= low <= high <= 1, got {self.low} and {self.high}"
            )
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale must lie in [0, 1], got {self.rescale}")

    def groups(self, names: Sequence[str]) -> list[tuple[frozenset[str], float]]:
        """What is asked in each pass, from nothing to all of the names, and its coefficient."""
        if not names:
            return [(frozenset(), 1.0)]
        unknown = set(self.weights) - set(names)
        if unknown:
            raise ValueError(f"guidance names {', '.join(sorted(unknown))}, which nothing has")
        weight_of = {name: self.weights.get(name, self.weight) for name in names}
        # The common weight first: where it is 1 the unasked pass falls out.
        order = sorted({*weight_of.values()}, key=lambda w: (w != self.weight, w))
        passes = [
            frozenset(name for name in names if weight_of[name] in order[:count])
            for count in range(len(order) + 1)
        ]
        weights = [1.0, *order, 0.0]
        coefficients = [w - w_next for w, w_next in pairwise(weights)]
        pairs = list(zip(passes, coefficients, strict=True))
        # The last one is needed outside of the interval, whatever its weight.
        return [pair for pair in pairs[:-1] if pair[1] != 0] + pairs[-1:]


def guided(
    denoise: Denoise, conditions: Sequence[tuple[Tensor, float]], guidance: Guidance
) -> Predict:
    """The guided output of one batch; all conditions go through the network together.

    `conditions` are those of `Guidance.groups` with their coefficients, the one that asks for
    everything last.
    """
    full = conditions[-1][0]

    def predict(x: Tensor, t: float, span: float) -> Tensor:
        times, spans = (torch.full((len(x),), f, dtype=x.dtype, device=x.device) for f in (t, span))
        if len(conditions) == 1 or not guidance.low <= t <= guidance.high:
            return denoise(x, times, full, spans)
        count = len(conditions)
        outputs = denoise(
            x.repeat(count, *[1] * (x.ndim - 1)),
            times.repeat(count),
            torch.cat([condition for condition, _ in conditions]),
            spans.repeat(count),
        ).chunk(count)
        pairs = zip(conditions, outputs, strict=True)
        total = torch.stack([coefficient * output for (_, coefficient), output in pairs]).sum(0)
        return _rescaled(total, outputs[-1], guidance.rescale)

    return predict


def _rescaled(output: Tensor, unguided: Tensor, share: float) -> Tensor:
    """The output, a share of it with the spread that each scan has without guidance."""
    if share == 0:
        return output
    axes = tuple(range(1, output.ndim))
    ratio = unguided.std(axes, keepdim=True) / output.std(axes, keepdim=True)
    return output * (1 - share + share * ratio)
