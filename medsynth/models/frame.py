"""Between stored volumes in [0, 1] and the padded tensors in [-1, 1] that networks see."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """Volumes (n, I, J, K) as tensors (n, 1, I', J'[, K']), each side a multiple of `multiple`.

    A volume with K = 1 is a 2D image. Padding is background, shared between both ends of a side.
    """

    spatial_shape: tuple[int, int, int]
    multiple: int

    @property
    def spatial_dims(self) -> int:
        """2 for images (K = 1), 3 for volumes."""
        return 2 if self.spatial_shape[2] == 1 else 3

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """Sides of the tensors."""
        sides = self.spatial_shape[: self.spatial_dims]
        return tuple(-(-side // self.multiple) * self.multiple for side in sides)

    def to_tensor(self, volumes: Float[np.ndarray, "n i j k"]) -> Float[Tensor, "n 1 *space"]:
        """Padded tensors in [-1, 1]."""
        if volumes.shape[1:] != self.spatial_shape:
            raise ValueError(
                f"volumes must have shape {self.spatial_shape}, got {volumes.shape[1:]}"
            )
        full = np.zeros((len(volumes), *self.padded_shape), np.float32)
        sides = (len(volumes), *self.spatial_shape[: self.spatial_dims])
        full[self._inside()] = volumes.reshape(sides)
        return torch.from_numpy(full).unsqueeze(1) * 2 - 1

    def to_volumes(self, tensor: Float[Tensor, "n 1 *space"]) -> Float[np.ndarray, "n i j k"]:
        """Cropped float32 volumes, clipped to [0, 1]."""
        full = ((tensor.detach().float().cpu() + 1) / 2).clamp(0, 1).squeeze(1).numpy()
        return np.ascontiguousarray(full[self._inside()]).reshape(len(full), *self.spatial_shape)

    def _inside(self) -> tuple[slice, ...]:
        sides = zip(self.spatial_shape, self.padded_shape, strict=False)
        starts = [((whole - side) // 2, side) for side, whole in sides]
        return (slice(None), *(slice(start, start + side) for start, side in starts))
