"""How much is left of an image, and how much noise is there, at a time t in [0, 1].

x_t = a x0 + s eps with (a, s) = (1, 0) at t = 0. All numbers are fp64: rounded to a sample's
precision, 1 - a would be lost where little noise is left.
References: Liu et al., "Flow Straight and Fast", 2023 (straight); Nichol & Dhariwal, "Improved
Denoising Diffusion Probabilistic Models", 2021 (cosine); Ho et al., "Denoising Diffusion
Probabilistic Models", 2020, and Rombach et al., 2022 (tables of betas).
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Curve = Literal["straight", "cosine", "linear_beta", "scaled_linear_beta"]
_LEFT_AT_THE_END = 0.005
"""What the cosine leaves of an image at t = 1: enough for a network that predicts noise."""


@dataclass(frozen=True)
class NoiseSchedule:
    """A curve; the tables, which other people's networks were trained on, have timesteps.

    Timestep k of a table, counted from 0, is time (k + 1) / num_timesteps.
    """

    curve: Curve = "straight"
    num_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2

    def __post_init__(self) -> None:
        if self.curve not in get_args(Curve):
            raise ValueError(f"curve must be one of {', '.join(get_args(Curve))}")
        if not 0 < self.beta_start <= self.beta_end < 1 or self.num_timesteps < 2:
            raise ValueError(
                "betas must rise inside (0, 1) over two timesteps or more, "
                f"got {self.beta_start}, {self.beta_end} and {self.num_timesteps}"
            )

    @property
    def is_table(self) -> bool:
        """Whether only whole timesteps have a meaning."""
        return self.curve not in ("straight", "cosine")

    def __call__(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        """(a, s) at times t, in fp64."""
        t = t.double()
        if self.curve == "straight":
            return 1 - t, t
        if self.curve == "cosine":
            angle = t * math.acos(_LEFT_AT_THE_END)
            return angle.cos(), angle.sin()
        left = torch.from_numpy(_left(self)).to(t.device)[(t * self.num_timesteps).round().long()]
        return left.sqrt(), (1 - left).sqrt()

    def at(self, t: float) -> tuple[float, float]:
        """(a, s) at one time."""
        a, s = self(torch.tensor(t, dtype=torch.float64))
        return float(a), float(s)

    def way(self, t: float) -> float:
        """How far along the path a time lies: t of the straight one, the angle of the others.

        Image and noise are smooth in it up to both ends, which a two-step rule relies on.
        """
        return t if self.curve == "straight" else math.asin(self.at(t)[1])

    def grid(self, num_steps: int, *, shift: float = 1.0) -> Float[np.ndarray, " points"]:
        """num_steps + 1 strictly falling times from exactly 1 to exactly 0.

        A shift above 1 puts more of them where there is much noise (Esser et al., 2024).
        """
        if num_steps < 1 or shift <= 0:
            raise ValueError(f"need a step and a positive shift, got {num_steps} and {shift}")
        t = np.linspace(1, 0, num_steps + 1)
        times = shift * t / (1 + (shift - 1) * t)
        if self.is_table:
            times = np.round(times * self.num_timesteps) / self.num_timesteps
        if not (np.diff(times) < 0).all():
            raise ValueError(
                f"{num_steps} steps do not fit into {self.num_timesteps} timesteps; ask for fewer"
            )
        return np.asarray(times)


@cache
def _left(schedule: NoiseSchedule) -> Float[np.ndarray, " points"]:
    """a^2 after 0, 1, ... timesteps."""
    start, end, count = schedule.beta_start, schedule.beta_end, schedule.num_timesteps
    if schedule.curve == "linear_beta":
        betas = np.linspace(start, end, count)
    else:
        betas = np.linspace(math.sqrt(start), math.sqrt(end), count) ** 2
    return np.concatenate([[1.0], np.cumprod(1 - betas)])
