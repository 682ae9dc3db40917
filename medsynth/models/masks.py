"""Masks and sketches as tokens, one for each latent position, added where they belong.

Each token reads all voxels of its position at once (space to depth), so that no edge is lost to
the latents' coarser grid. The denoiser gets them side by side with its latents: concatenation, as
in Saharia et al., "Palette", 2022 (arXiv 2111.05826).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from medsynth.models.frame import Frame

Mask = UInt8[np.ndarray, "i j k"]
Masks = Mapping[str, Mask]
"""Masks by digest: 0 is background, n the n-th label; sketches are gray."""
NO_MASKS: Masks = MappingProxyType({})


@dataclass(frozen=True)
class MaskGrid:
    """The scans' shape, what their sides are padded to a multiple of, and the latents' factor."""

    shape: tuple[int, int, int]
    multiple: int
    factor: int

    @property
    def frame(self) -> Frame:
        """How masks are padded: as their scans."""
        return Frame(self.shape, self.multiple)

    @property
    def num_voxels(self) -> int:
        """Voxels of a padded mask."""
        return int(np.prod(self.frame.padded_shape))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Sides of the latents."""
        return tuple(side // self.factor for side in self.frame.padded_shape)

    def flatten(self, masks: Sequence[Mask]) -> Float[np.ndarray, "n voxels"]:
        """Padded masks as rows of their codes."""
        if any(mask.shape != self.shape for mask in masks):
            raise ValueError(f"a mask must have the scans' shape {self.shape}")
        stacked = np.array(masks, np.float32).reshape(len(masks), *self.shape)
        # The frame maps [0, 1] to [-1, 1]; codes go there and back, and stay whole numbers.
        padded = (self.frame.to_tensor(stacked) + 1) / 2
        return padded.flatten(1).numpy()


class MaskTokens(nn.Module):
    """Codes (n, voxels) to tokens (n, positions, dim); without labels the code is a gray value."""

    def __init__(self, grid: MaskGrid, num_labels: int, dim: int) -> None:
        super().__init__()
        self.grid, self.num_labels = grid, num_labels
        width = max(1, num_labels) * grid.factor ** len(grid.latent_shape)
        self.layers = nn.Sequential(nn.Linear(width, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, codes: Float[Tensor, "n voxels"]) -> Float[Tensor, "n positions dim"]:
        """One token for each latent position, in C order."""
        planes = self._planes(codes.reshape(len(codes), *self.grid.frame.padded_shape))
        tokens: Tensor = self.layers(to_depth(planes, self.grid.factor))
        return tokens

    def _planes(self, codes: Float[Tensor, " n *space"]) -> Float[Tensor, "n planes *space"]:
        if not self.num_labels:
            return codes.unsqueeze(1) / 255
        return torch.stack([(codes == n + 1).float() for n in range(self.num_labels)], dim=1)


def to_depth(
    planes: Float[Tensor, "n planes *space"], factor: int
) -> Float[Tensor, "n positions width"]:
    """The factor^d voxels of each block, side by side; blocks in C order."""
    dims = planes.ndim - 2
    sides = [part for side in planes.shape[2:] for part in (side // factor, factor)]
    planes = planes.reshape(*planes.shape[:2], *sides)
    blocks = [2 + 2 * axis for axis in range(dims)]
    inside = [3 + 2 * axis for axis in range(dims)]
    return planes.permute(0, *blocks, 1, *inside).flatten(1 + dims).flatten(1, dims)
