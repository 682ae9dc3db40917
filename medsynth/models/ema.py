"""Power-function averages of weights.

Reference: Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models",
2024, equations 1, 2 and 9: the average's width is a fixed share of the steps so far.
"""

import copy

import numpy as np
import torch
from torch import nn


def power_exponent(length: float) -> float:
    """Exponent gamma of the average whose relative sd is `length` (such as 0.1)."""
    # (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) = length^2, as a cubic in gamma.
    roots = np.roots([1, 7, 16 - length**-2, 12 - length**-2])
    return float(roots.real.max())


class Ema:
    """An fp32 copy of a network whose parameters trail the original's."""

    def __init__(self, network: nn.Module, length: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.exponent = power_exponent(length)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps, counted from 1."""
        keep = (1 - 1 / step) ** (self.exponent + 1)
        for ours, theirs in zip(self.network.parameters(), network.parameters(), strict=True):
            ours.lerp_(theirs, 1 - keep)
