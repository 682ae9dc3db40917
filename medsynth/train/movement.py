"""Training scans turned, scaled, shifted and bent a little: further latents for the denoiser.

A few hundred scans are soon known by heart; a denoiser that meets each in several places should
take longer to. Latents do not turn with their scan, so each copy is encoded
anew. What is moved so little is still a scan as it might have been taken; nothing is mirrored.
"""

from dataclasses import dataclass
from math import radians

import numpy as np
from jaxtyping import Float
from scipy.linalg import expm
from scipy.ndimage import map_coordinates

_KNOT = 16
"""Voxels between the knots of a bend: far wider than what a lesion or a vessel is known by."""


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
    bend: float
    """Voxels by which a place moves besides, along each axis, smoothly."""

    def move(
        self, volume: Float[np.ndarray, "i j k"], spacing: np.ndarray, rng: np.random.Generator
    ) -> Float[np.ndarray, "i j k"]:
        """A copy by cubic splines, which do not blur, within [0, 1]."""
        image = volume[..., 0] if volume.shape[2] == 1 else volume
        dims = image.ndim
        turn = np.triu(rng.uniform(-1, 1, (dims, dims)), 1) * radians(self.angle)
        world = expm(turn - turn.T) * (1 + self.zoom * rng.uniform(-1, 1))
        matrix = world * spacing[:dims] / spacing[:dims, None]
        axes = (slice(None), *[None] * dims)
        center = ((np.array(image.shape) - 1) / 2)[axes]
        places = np.tensordot(matrix, np.indices(image.shape) - center, 1) + center
        places += self.shift * rng.uniform(-1, 1, dims)[axes]
        places += self.bend * np.stack([smooth(image.shape, rng) for _ in range(dims)])
        # Where a scan fills its frame, nothing black may come in from beyond.
        moved = map_coordinates(image, places, order=3, mode="reflect", output=np.float32)
        brighter = moved * (1 + self.gain * rng.uniform(-1, 1))
        return np.asarray(np.clip(brighter, 0, 1), np.float32).reshape(volume.shape)


def smooth(shape: tuple[int, ...], rng: np.random.Generator) -> Float[np.ndarray, "*shape"]:
    """Cubic B-splines whose knots are uniform in [-1, 1], so that they stay there, too."""
    knots = rng.uniform(-1, 1, [(side - 1) // _KNOT + 4 for side in shape])
    along = [1 + np.arange(side) / _KNOT for side in shape]
    field: np.ndarray = map_coordinates(
        knots, np.meshgrid(*along, indexing="ij"), order=3, prefilter=False
    )
    return field
