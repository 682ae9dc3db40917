"""Latents by row, scaled as they are asked for.

They are moved to the device once, in the fp16 they are stored in; where they would fill more
than half of its free memory they stay in the memory map, and each batch reads its rows.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from medsynth.models.synthesizer import LatentScale
from medsynth.train.forecast import Memory

_LARGEST_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class LatentRows:
    """Latents of the whole training fold, held on the device or mapped from the disk."""

    mapped: Float[np.ndarray, "n c *latent"]
    held: Float[Tensor, "n c *latent"] | None
    scale: LatentScale
    device: torch.device

    @classmethod
    def of(
        cls, mapped: Float[np.ndarray, "n c *latent"], scale: LatentScale, device: torch.device
    ) -> "LatentRows":
        """Held where there is room, else mapped."""
        fits = mapped.nbytes <= _LARGEST_SHARE * Memory(device).available()
        held = torch.from_numpy(np.array(mapped)).to(device) if fits else None
        return cls(mapped, held, scale, device)

    def __len__(self) -> int:
        return len(self.mapped)

    def take(self, rows: Int[Tensor, " m"]) -> Float[Tensor, "m c *latent"]:
        """Some rows in fp32, scaled, in the order given."""
        if self.held is not None:
            # Whole rows at once: an index in brackets goes number by number.
            chosen = self.held.index_select(0, rows.to(self.device))
        else:
            chosen = torch.from_numpy(self.mapped[rows.cpu().numpy()]).to(self.device)
        return self.scale.apply_(chosen.float())

    def all(self) -> Float[Tensor, "n c *latent"]:
        """Every row."""
        return self.take(torch.arange(len(self)))
