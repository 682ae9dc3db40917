"""Rectified flow: a straight path from data (t = 0) to noise (t = 1).

x_t = (1 - t) x0 + t eps, velocity u = x0 - eps; sampling runs t from 1 to 0 by x += u dt.
Reference: Liu et al., "Flow Straight and Fast", 2023; times as in Esser et al., 2024.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def draw_times(count: int, *, shift: float = 1.0) -> Float[Tensor, " count"]:
    """Logit-normal(0, 1) times from torch's CPU generator, moved towards noise by `shift`."""
    return shift_times(torch.sigmoid(torch.randn(count)), shift)


def shift_times(t: Tensor, shift: float) -> Tensor:
    """t' = r t / (1 + (r - 1) t): larger latents need more noise for the same ruin."""
    return shift * t / (1 + (shift - 1) * t)


def add_noise(
    x0: Float[Tensor, " n *rest"], noise: Float[Tensor, " n *rest"], t: Float[Tensor, " n"]
) -> Float[Tensor, " n *rest"]:
    """The point at time t on the path from x0 to noise."""
    t = t.view(-1, *[1] * (x0.ndim - 1))
    return (1 - t) * x0 + t * noise


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """The flow's target."""
    return x0 - noise


def clean_and_noise(x: Tensor, u: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(x0, noise) that a velocity at x and t points to."""
    t = t.view(-1, *[1] * (x.ndim - 1))
    return x + t * u, x - (1 - t) * u
