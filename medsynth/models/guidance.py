"""Classifier-free guidance inside an interval of times.

u = u_null + w (u_cond - u_null) for t in the interval, one conditional pass outside of it.
References: Ho & Salimans, 2022; Kynkaanniemi et al., "Applying Guidance in a Limited Interval",
2024 (arXiv 2404.07724).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medsynth.models.sampler import Velocity

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents, times, condition) to velocity."""


@dataclass(frozen=True)
class Guidance:
    """Weight and interval; a weight of 1 is off and costs one pass."""

    weight: float = 1.0
    low: float = 0.1
    high: float = 0.9

    def is_on(self, t: float) -> bool:
        """Whether this time needs both passes."""
        return self.weight != 1.0 and self.low <= t <= self.high


def guided_velocity(
    denoise: Denoise, condition: Tensor, null: Tensor, guidance: Guidance
) -> Velocity:
    """The guided velocity of one batch; both branches go through the network together."""

    def velocity(x: Tensor, t: float) -> Tensor:
        times = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
        if not guidance.is_on(t):
            return denoise(x, times, condition)
        both = denoise(
            x.repeat(2, *[1] * (x.ndim - 1)), times.repeat(2), torch.cat([condition, null])
        )
        asked, unasked = both.chunk(2)
        return unasked + guidance.weight * (asked - unasked)

    return velocity
