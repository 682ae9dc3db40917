"""Power-function averages of weights, and averages of other lengths made from stored ones.

The weights after step s count s^gamma in an average, so its width is a fixed share of the steps
so far. An average of any length can be made afterwards: the mixture of stored ones whose profile
over the steps comes closest to the profile wanted.

Reference: Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models",
2024 (arXiv 2312.02696), equations 1, 2 and 9 and section 3.2.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def power_exponent(length: float) -> float:
    """Exponent gamma of the average whose relative sd is `length` (such as 0.1)."""
    # (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) = length^2, as a cubic in gamma.
    roots = np.roots([1, 7, 16 - length**-2, 12 - length**-2])
    return float(roots.real.max())


class Ema:
    """An fp32 copy of a network whose parameters trail the original's."""

    def __init__(self, network: nn.Module, length: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.length, self._exponent = length, power_exponent(length)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps, counted from 1; the first are copied."""
        keep = (1 - 1 / step) ** (self._exponent + 1)
        ours: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - keep)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the average as it is now."""
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}


@dataclass(frozen=True)
class Average:
    """Which average: its length, and the step at which it was or would be taken."""

    length: float
    step: int

    def profile(self, num_steps: int) -> Float[np.ndarray, " num_steps"]:
        """What the weights after each step count in it; sums to 1."""
        edges = np.minimum(np.arange(num_steps + 1) / self.step, 1.0)
        shares: np.ndarray = np.diff(edges ** (power_exponent(self.length) + 1))
        return shares


@dataclass(frozen=True, eq=False)
class Mixture:
    """How much of each stored average makes a wanted one.

    `error` is the distance of the profiles, as a share of the wanted one's norm.
    """

    shares: Float[np.ndarray, " stored"]
    error: float

    @classmethod
    def of(cls, stored: Sequence[Average], wanted: Average) -> "Mixture":
        """The best one, by least squares over the steps; its shares sum to 1."""
        columns = np.stack([one.profile(wanted.step) for one in stored], axis=1)
        target = wanted.profile(wanted.step)
        shares = np.linalg.lstsq(columns, target, rcond=None)[0]
        shares = shares / shares.sum()
        error = np.linalg.norm(columns @ shares - target) / np.linalg.norm(target)
        return cls(shares, float(error))


def mix(mixtures: Sequence[Mixture], stored: Iterable[Weights]) -> list[dict[str, Tensor]]:
    """The weights of each mixture; stored ones are read once, one after the other."""
    sums: list[dict[str, Tensor]] = []
    for number, weights in enumerate(stored):
        sums = sums or [{k: torch.zeros_like(t) for k, t in weights.items()} for _ in mixtures]
        for total, mixture in zip(sums, mixtures, strict=True):
            ours, theirs = list(total.values()), [weights[name] for name in total]
            torch._foreach_add_(ours, theirs, alpha=float(mixture.shares[number]))
    return sums
