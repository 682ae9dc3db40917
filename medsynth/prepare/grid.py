"""One grid for all scans: resampled with antialiasing, centered, padded or cropped.

World points are kept: the affine of the result says where each voxel lies in the patient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.ndimage import affine_transform, gaussian_filter1d

from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Geometry, Volume
from medsynth.prepare.config import PrepareConfig

LARGEST_SIDE = {2: 64, 3: 48}  # voxels, of a grid that nobody configured
_MULTIPLE = 8  # so that every level of a network divides it

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Voxels along each axis and the millimetres between them."""

    shape: tuple[int, int, int]
    spacing: Triple


def plane_last(volume: Volume) -> Volume:
    """The volume with a single-voxel axis moved to the end: a 2D image has K = 1."""
    sides = volume.geometry.spatial_shape
    if 1 not in sides or sides[2] == 1:
        return volume
    thin = sides.index(1)
    order = [*(axis for axis in range(3) if axis != thin), thin]
    affine = volume.geometry.affine[:, [*order, 3]]
    array = volume.array.transpose(0, *(axis + 1 for axis in order))
    i, j, k = array.shape[1:]
    return Volume(array, Geometry((i, j, k), affine))


def derive_grid(geometries: Sequence[Geometry], config: PrepareConfig) -> Grid:
    """The configured grid, its open parts taken from the median scan."""
    shapes = np.array([geometry.spatial_shape for geometry in geometries])
    spacings = np.array([geometry.spacing for geometry in geometries])
    field = np.median(shapes * spacings, axis=0)
    sides = config.shape or _median_shape(np.median(shapes, axis=0), field)
    if (sides[2] == 1) != bool((shapes[:, 2] == 1).all()):
        raise UsageProblem(
            f"the grid {sides} must have one plane where the scans have one, and several where "
            "they have several; change `shape`"
        )
    spacing = config.spacing or tuple(field / sides)
    return Grid((sides[0], sides[1], sides[2]), (spacing[0], spacing[1], spacing[2]))


def _median_shape(
    median: Float[np.ndarray, "3"], field: Float[np.ndarray, "3"]
) -> tuple[int, int, int]:
    """Sides in proportion to the field of view, multiples of 8, none above the largest side."""
    axes = 2 if median[2] <= 1 else 3
    most = _MULTIPLE * math.ceil(float(median[:axes].max()) / _MULTIPLE)
    step = float(field[:axes].max()) / min(LARGEST_SIDE[axes], most)
    sides = [max(_MULTIPLE, _MULTIPLE * round(mm / step / _MULTIPLE)) for mm in field[:axes]]
    return sides[0], sides[1], sides[2] if axes == 3 else 1


def conform(volume: Volume, grid: Grid, *, is_labels: bool = False) -> Volume:
    """One channel on the grid, centered on the scan's center; 0 where the scan does not reach.

    Each voxel of a label map takes the nearest label.
    """
    source = volume.geometry
    sides = np.array(source.spatial_shape)
    step = np.array(grid.spacing) / source.spacing
    if sides[2] == 1 and grid.shape[2] == 1:
        step[2] = 1.0
    start = (sides - 1) / 2 - step * (np.array(grid.shape) - 1) / 2
    array = volume.array[0].astype(np.float32)
    array = affine_transform(
        array if is_labels else _without_aliases(array, step),
        step,
        start,
        grid.shape,
        output=np.float32,
        order=0 if is_labels else 1,
        mode="nearest",
    )
    array = array * _reach(sides, step, start, grid.shape)
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = start
    return Volume(array[None], Geometry(grid.shape, source.affine @ matrix))


def _without_aliases(
    array: Float[np.ndarray, "i j k"], step: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "i j k"]:
    """Smoothed along the axes that lose voxels: the Gaussian with the variance of a box average."""
    for axis, factor in enumerate(step):
        if factor > 1 and array.shape[axis] > 1:
            sigma = float(np.sqrt((factor**2 - 1) / 12))
            array = gaussian_filter1d(array, sigma, axis=axis, mode="nearest")
    return array


def _reach(
    sides: Shaped[np.ndarray, "3"],
    step: Float[np.ndarray, "3"],
    start: Float[np.ndarray, "3"],
    shape: tuple[int, int, int],
) -> Float[np.ndarray, "i j k"]:
    """1 where a voxel's center lies inside the scan's field of view, else 0."""
    inside = []
    for axis, count in enumerate(shape):
        where = start[axis] + step[axis] * np.arange(count)
        inside.append((where >= -0.5 - 1e-6) & (where <= sides[axis] - 0.5 + 1e-6))
    mask: Float[np.ndarray, "i j k"] = np.einsum("i,j,k->ijk", *inside).astype(np.float32)
    return mask


def normalize(
    array: Shaped[np.ndarray, "i j k"], config: PrepareConfig, *, is_inverted: bool = False
) -> Float[np.ndarray, "i j k"]:
    """Values in [0, 1], 0 the darkest; a display-inverted image is turned over."""
    low, high = _window(array, config)
    scaled = (array.astype(np.float32) - low) / max(high - low, 1e-30)
    clipped: Float[np.ndarray, "i j k"] = np.clip(scaled, 0, 1).astype(np.float32)
    return 1 - clipped if is_inverted else clipped


def _window(array: Shaped[np.ndarray, "i j k"], config: PrepareConfig) -> tuple[float, float]:
    if config.intensity == "range":
        return config.range
    low, high = (float(value) for value in np.percentile(array, config.percentiles))
    if high <= low:  # an image that is empty but for a few voxels
        low, high = float(array.min()), float(array.max())
    return low, high
