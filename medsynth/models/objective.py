"""What the denoiser learns to predict, and how a clean image and noise follow from it.

flow: the velocity u = x0 - eps of the straight path. epsilon, sample, v: the noise, the image,
or a eps - s x0, on a path with a^2 + s^2 = 1.
References: Liu et al., "Flow Straight and Fast", 2023; Ho et al., 2020; Salimans & Ho,
"Progressive Distillation for Fast Sampling of Diffusion Models", 2022; times of the flow as in
Esser et al., 2024; weights of the others by Hang et al., "Efficient Diffusion Training via
Min-SNR Weighting Strategy", 2023.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.models.schedule import NoiseSchedule

Target = Literal["flow", "epsilon", "sample", "v"]
_MOST_SNR = 5.0
"""gamma of Min-SNR."""


@dataclass(frozen=True)
class Objective:
    """A target on its path; `shift` moves the times of training and sampling towards noise."""

    target: Target = "flow"
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.target not in get_args(Target):
            raise ValueError(f"target must be one of {', '.join(get_args(Target))}")
        if (self.target == "flow") != (self.schedule.curve == "straight"):
            raise ValueError(
                "the flow needs the straight path, and every other target another one; "
                f"got {self.target} on {self.schedule.curve}"
            )

    @classmethod
    def of(cls, target: Target, *, shift: float = 1.0) -> "Objective":
        """The objective with its usual path."""
        return cls(target, NoiseSchedule("straight" if target == "flow" else "cosine"), shift)

    def draw_times(self, count: int) -> Float[Tensor, " count"]:
        """Times from torch's CPU generator: logit-normal(0, 1) for the flow, else uniform."""
        if self.schedule.is_table:
            steps = self.schedule.num_timesteps
            return (torch.randint(steps, (count,)) + 1) / steps
        t = torch.sigmoid(torch.randn(count)) if self.target == "flow" else torch.rand(count)
        return self.shift * t / (1 + (self.shift - 1) * t)

    def add_noise(
        self,
        x0: Float[Tensor, " n *rest"],
        noise: Float[Tensor, " n *rest"],
        t: Float[Tensor, " n"],
    ) -> Float[Tensor, " n *rest"]:
        """The points at times t on the paths from x0 to noise."""
        a, s = self._path(t, x0)
        return a * x0 + s * noise

    def learned(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should say at these times."""
        if self.target == "flow":
            return x0 - noise
        a, s = self._path(t, x0)
        return {"epsilon": noise, "sample": x0, "v": a * noise - s * x0}[self.target]

    def clean_and_noise(self, x: Tensor, output: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x0, eps) that a network's output at x and t (of n or of all) points to."""
        a, s = self._path(t, x)
        if self.target == "flow":
            return x + s * output, x - a * output
        if self.target == "epsilon":
            return (x - s * output) / a, output
        if self.target == "sample":
            return output, (x - a * output) / s
        return a * x - s * output, s * x + a * output

    def heading(self, x: Tensor, x_next: Tensor, t: float, t_next: float) -> Tensor:
        """The image that a step from x at t to x_next heads for: x0 of the path through both."""
        (a, s), (a_next, s_next) = self.schedule.at(t), self.schedule.at(t_next)
        return (s_next * x - s * x_next) / (a * s_next - a_next * s)

    def weight(self, t: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Of the squared error at these times: 1 for the flow, else by Min-SNR."""
        if self.target == "flow":
            return torch.ones_like(t)
        a, s = self.schedule(t)
        snr = (a / s).square()
        most = snr.clamp_max(_MOST_SNR)
        by = {"epsilon": snr, "sample": torch.ones_like(snr), "v": snr + 1}
        return (most / by[self.target]).to(t.dtype)

    def _path(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (like.ndim - 1)) if t.ndim else ()
        a, s = (part.to(like).view(shape) for part in self.schedule(t))
        return a, s
