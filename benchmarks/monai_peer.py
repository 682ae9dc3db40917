"""Our denoiser's network as MONAI's inferers call it, so that peers run on equal weights.

MONAI's rectified flow has our path and our velocity, x0 - eps. Its DDIM and PNDM want a network
that predicts eps on a path with a^2 + s^2 = 1: a point there lies on ours once it is divided by
a + s, at time s / (a + s), so that they follow the same differential equation.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.models.denoiser import Denoiser

UNASKED = -1.0
"""With which MONAI's inferer fills the condition of its unguided half."""


class Velocity(nn.Module):
    """(x, timesteps 0..1000, context) to x0 - eps; `null` stands where nothing is asked."""

    def __init__(self, denoiser: Denoiser, null: Tensor | None = None) -> None:
        super().__init__()
        config = denoiser.config
        if (config.time_scale, config.time_offset) != (1000.0, 0.0):
            raise ValueError("the peer counts times from 0 to 1000, and so must the denoiser")
        self.network, self.null = denoiser.network, null

    def forward(
        self,
        x: Float[Tensor, "n c *space"],
        timesteps: Float[Tensor, " times"],
        context: Float[Tensor, "n tokens dim"],
    ) -> Float[Tensor, "n c *space"]:
        if self.null is not None:
            is_unasked = (context == UNASKED).flatten(1).all(1)
            context = torch.where(is_unasked[:, None, None], self.null, context)
        times = timesteps.to(x.device, torch.float32).expand(len(x))
        output: Tensor = self.network(
            x, times, context=context, class_labels=context.flatten(1).to(x.dtype)
        )
        return output


class Noise(nn.Module):
    """The same network as one that predicts eps at the timesteps of a table of betas."""

    def __init__(self, velocity: Velocity, alphas_cumprod: Tensor) -> None:
        super().__init__()
        self.velocity, self.left = velocity, alphas_cumprod.double()

    def start(self) -> tuple[float, float]:
        """(time, factor) on our path of pure noise at the table's last timestep."""
        a, s = self._path(len(self.left) - 1)
        return s / (a + s), 1 / (a + s)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        a, s = self._path(int(timesteps))
        here, t = x / (a + s), s / (a + s)
        return here - (1 - t) * self.velocity(here, torch.tensor([1000 * t]), context)

    def _path(self, timestep: int) -> tuple[float, float]:
        left = float(self.left[timestep])
        return left**0.5, (1 - left) ** 0.5
