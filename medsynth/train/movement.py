"""Training scans turned, scaled and shifted a little, as further latents for the denoiser.

A few hundred scans are soon known by heart; a denoiser that meets each in several places should
take longer to. Latents do not turn with their scan, so each copy is encoded
anew. What is moved so little is still a scan as it might have been taken; nothing is mirrored.
"""

from dataclasses import dataclass
from math import radians

import numpy as np
from jaxtyping import Float
from scipy.linalg import expm
from scipy.ndimage import affine_transform


@dataclass(frozen=True)
class Movement:
    """The most by which a copy differs from its scan."""

    angle: float
    """Degrees about each axis of the grid (in 2D, in the plane)."""
    zoom: float
    """Share by which it is larger or smaller."""
    shift: float
    """Voxels along each axis."""
    gain: float
    """Share by which it is brighter or darker."""

    def move(
        self, volume: Float[np.ndarray, "i j k"], spacing: np.ndarray, rng: np.random.Generator
    ) -> Float[np.ndarray, "i j k"]:
        """A copy by cubic splines, which do not blur, within [0, 1]."""
        image = volume[..., 0] if volume.shape[2] == 1 else volume
        dims = image.ndim
        turn = np.triu(rng.uniform(-1, 1, (dims, dims)), 1) * radians(self.angle)
        world = expm(turn - turn.T) * (1 + self.zoom * rng.uniform(-1, 1))
        matrix = world * spacing[:dims] / spacing[:dims, None]
        center = (np.array(image.shape) - 1) / 2
        offset = center - matrix @ center + self.shift * rng.uniform(-1, 1, dims)
        moved = affine_transform(image, matrix, offset, order=3, output=np.float32)
        brighter = moved * (1 + self.gain * rng.uniform(-1, 1))
        return np.asarray(np.clip(brighter, 0, 1), np.float32).reshape(volume.shape)
