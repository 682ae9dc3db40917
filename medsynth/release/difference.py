"""What one attribute changes: the mean difference of pairs that share their noise.

One pair is an anecdote, so the mean stands beside its own uncertainty and beside how much scans
differ from noise to noise anyway.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import stats

from medsynth.core.pictures import Paint, Plane, scan_picture

CONFIDENCE = 0.95
_MORE, _LESS, _SPREAD = (217, 67, 47), (43, 111, 214), (128, 90, 200)

Volumes = Float[np.ndarray, "n i j k"]
Map = Float[np.ndarray, "i j k"]


@dataclass(frozen=True, eq=False)
class Difference:
    """Voxel-wise over n pairs, in units of the voxels: mean, half its 95 % interval, spread.

    `spread` is the standard deviation from noise to noise under the first value.
    """

    mean: Map
    half: Map
    spread: Map
    num_pairs: int

    @classmethod
    def of(cls, first: Volumes, last: Volumes) -> "Difference":
        """Of `last` minus `first`, pair by pair; Student's t, two-sided. Needs two pairs."""
        count = len(first)
        if count < 2:
            raise ValueError(f"a difference map needs at least two pairs, got {count}")
        pairs = last - first
        error = pairs.std(axis=0, ddof=1) / np.sqrt(count)
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
        spread = first.std(axis=0, ddof=1)
        return cls(pairs.mean(axis=0), error * np.float32(reach), spread, count)

    @property
    def is_beyond(self) -> Bool[np.ndarray, "i j k"]:
        """Where the interval leaves zero out; by chance alone in one voxel of twenty."""
        is_beyond: np.ndarray = np.abs(self.mean) > self.half
        return is_beyond

    @property
    def largest(self) -> float:
        """The largest mean difference, in size."""
        return float(np.abs(self.mean).max())

    def pictures(self, *, height: int = 128) -> dict[str, Image.Image]:
        """The mean, the mean where it is beyond its interval, and the spread, as `paint` does."""
        scale = self.largest or 1.0
        beyond = np.where(self.is_beyond, self.mean, np.float32(0))
        of_spread = float(self.spread.max()) or 1.0
        return {
            "difference": scan_picture(self.mean, height=height, paint=signed(scale)),
            "beyond": scan_picture(beyond, height=height, paint=signed(scale)),
            "spread": scan_picture(self.spread, height=height, paint=unsigned(of_spread)),
        }


def signed(scale: float) -> Paint:
    """Red above and blue below zero, clear at it, so that any page shines through."""

    def paint(plane: Plane) -> UInt8[np.ndarray, "_ _ 4"]:
        colors = np.where(plane[..., None] > 0, np.array(_MORE), np.array(_LESS))
        return _with_opacity(colors, np.abs(plane) / scale)

    return paint


def unsigned(scale: float) -> Paint:
    """Violet, the denser the larger."""

    def paint(plane: Plane) -> UInt8[np.ndarray, "_ _ 4"]:
        return _with_opacity(np.broadcast_to(np.array(_SPREAD), (*plane.shape, 3)), plane / scale)

    return paint


def _with_opacity(colors: np.ndarray, opacity: np.ndarray) -> UInt8[np.ndarray, "_ _ 4"]:
    clear = np.round(255 * np.clip(opacity, 0, 1))[..., None]
    return np.concatenate([colors, clear], axis=-1).astype(np.uint8)
