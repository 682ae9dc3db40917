"""Copies that were moved: mirrored, turned, shifted, cropped, bent."""

import numpy as np
from scipy import ndimage

from privacy.planted.scan import PIXEL, Kind, Scan, in_voxels

_SHIFT = (0.08, -0.06)  # of the field of view
_WAVE = 4 * PIXEL  # smoothness of an elastic field


def flip(axis: int) -> Kind:
    """Mirrored along an axis."""
    return lambda scan, other, rng: np.flip(scan, axis)


def rotation(degrees: float) -> Kind:
    """Turned in the plane of the first two axes."""
    return lambda scan, other, rng: _turned(scan, degrees)


def rotation_between(low: float, high: float) -> Kind:
    """Turned by an angle drawn between two, either way."""

    def turned(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        return _turned(scan, float(rng.uniform(low, high) * rng.choice([-1, 1])))

    return turned


def _turned(scan: Scan, degrees: float) -> np.ndarray:
    turned: np.ndarray = ndimage.rotate(scan, degrees, axes=(0, 1), reshape=False, order=1)
    return turned


def quarter_turn(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    """Turned by 90 degrees; without interpolation where the plane is square."""
    rows, columns = scan.shape[:2]
    return np.rot90(scan) if rows == columns else _turned(scan, 90.0)


def shift(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    """Moved in the plane."""
    offset = (_SHIFT[0] * scan.shape[0], _SHIFT[1] * scan.shape[1], 0)
    moved: np.ndarray = ndimage.shift(scan, offset, order=1)
    return moved


def crop(share: float) -> Kind:
    """The central share of every axis, enlarged to the whole field of view."""

    def cropped(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        scale = np.array([share if side > 1 else 1.0 for side in scan.shape])
        offset = (1 - scale) * (np.array(scan.shape) - 1) / 2
        enlarged: np.ndarray = ndimage.affine_transform(scan, scale, offset, order=1)
        return enlarged

    return cropped


def elastic(share: float) -> Kind:
    """Bent by a smooth random field whose spread along each axis is a share of the view."""

    def bent(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        spreads, wave = in_voxels(share, scan), in_voxels(_WAVE, scan)
        places = np.indices(scan.shape).astype(np.float64)
        for place, spread in zip(places, spreads, strict=True):
            # Wrapped, so that the field is no stronger at the border than inside.
            field = ndimage.gaussian_filter(rng.standard_normal(scan.shape), wave, mode="wrap")
            place += spread * field / max(field.std(), 1e-12)
        drawn: np.ndarray = ndimage.map_coordinates(scan, places, order=1, mode="nearest")
        return drawn

    return bent


def next_slice(count: int) -> Kind:
    """Every slice in place of the one that many before it, the last repeated."""

    def moved(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        depth = scan.shape[2]
        return scan[:, :, np.minimum(np.arange(depth) + count, depth - 1)]

    return moved
