"""The outline of a head on a coarse grid, and whether it has a face.

A head ends above in a vault and, with a face, goes on below the brow as far forward as the forehead
stands; a stripped brain, a crop, a spine or a trunk does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from medsynth.core.geometry import Volume

GRID = 4.0  # mm
_FINE, _COARSEST = 2.6, 7.0  # mm; coarser voxels show no face
_FIELD = np.array([110.0, 130.0, 150.0])  # mm: width, length and height in which a face has room
_MOST_CELLS = 180  # along one axis: 72 cm
_WIDTH, _LENGTH = (110.0, 235.0), (130.0, 275.0)  # mm, of a vault
_VAULT = 100  # mm below the crown: where width and length are measured, above the brow
_FACE = (115, 185)  # mm below the crown: eyes, nose and mouth
_LEAST_SEEN = 20  # mm of that height, at least
_DEPTH, _HALF_WIDTH = 36, 32  # mm behind the forehead and to either side of the middle
_FILLED = 0.20  # share of that box which is tissue in a face; below a stripped brain it is air


@dataclass(frozen=True)
class Head:
    """Values and tissue on a grid of 4 mm along RAS+; `corner` is the first cell's center, mm.

    `crown`, `front` and `middle` are where the head ends above (mm), where its forehead stands
    and where its middle plane lies; `size` is the vault's width and length, mm.
    """

    values: Float[np.ndarray, "x y z"]
    tissue: Bool[np.ndarray, "x y z"]
    corner: Float[np.ndarray, " 3"]
    crown: float
    front: float
    middle: float
    size: tuple[float, float]

    @property
    def filled(self) -> float:
        """Share of tissue in the box below the brow and behind the forehead's plane."""
        spans = (
            (self.middle - _HALF_WIDTH, self.middle + _HALF_WIDTH),
            (self.front - _DEPTH, self.front),
            (self.crown - _FACE[1], self.crown - _FACE[0]),
        )
        cells = [self._cells(axis, *span) for axis, span in enumerate(spans)]
        box = self.tissue[cells[0], cells[1], cells[2]]
        return float(box.mean()) if box.shape[2] * GRID >= _LEAST_SEEN and box.size else 0.0

    @property
    def has_face(self) -> bool:
        """Whether there is tissue where a face would be."""
        return self.filled >= _FILLED

    def _cells(self, axis: int, low: float, high: float) -> slice:
        first, last = (round((mm - self.corner[axis]) / GRID) for mm in (low, high))
        return slice(max(0, first), max(0, last))


def may_hold_head(volume: Volume) -> bool:
    """Whether the field of view and the voxels are such that a face could be told (no pixels)."""
    fine = sorted(volume.geometry.spacing)
    if fine[1] > _FINE or fine[2] > _COARSEST:
        return False
    low, high = _extent(volume)
    return bool((high - low >= _FIELD).all())


def find_head(volume: Volume, *, coarse: bool = False) -> Head | None:
    """The head whose crown lies in the field; none where what lies there is no head.

    `coarse` voxels are else not looked at.
    """
    if not coarse and not (may_hold_head(volume) and _may_be_vault(volume)):
        return None
    values, corner = on_grid(volume)
    tissue = _tissue(values)
    levels = np.flatnonzero(tissue.any(axis=(0, 1)))
    if not len(levels):
        return None
    top = int(levels[-1])
    vault = tissue[:, :, max(0, top - int(_VAULT / GRID)) : top + 1].any(axis=2)
    sides = [np.unique(side) for side in np.nonzero(vault)]
    width, length = (float(len(s) and (s[-1] - s[0] + 1) * GRID) for s in sides)
    if not (_WIDTH[0] <= width <= _WIDTH[1] and _LENGTH[0] <= length <= _LENGTH[1]):
        return None
    return Head(
        values,
        tissue,
        corner,
        crown=float(corner[2] + top * GRID),
        front=float(corner[1] + sides[1][-1] * GRID),
        middle=float(corner[0] + (sides[0][0] + sides[0][-1]) / 2 * GRID),
        size=(width, length),
    )


def _may_be_vault(volume: Volume) -> bool:
    """A cheap look that turns trunks and crops away: does the body's top fit into a hat?

    Voxel axes stand for the patient's, so the limits are wide.
    """
    coarse, steps = _thinned(volume, 2 * GRID)
    floor, peak = np.percentile(coarse, [1, 99.5])
    scaled = np.clip((coarse - floor) / max(float(peak - floor), 1e-6), 0, 1)
    mask = ndimage.binary_opening(np.pad(scaled > 0.5 * _otsu(scaled), 1, mode="edge"))[
        1:-1, 1:-1, 1:-1
    ]
    levels = np.flatnonzero(mask.any(axis=(0, 1)))
    if not len(levels):
        return False
    cell = np.array(steps) * volume.geometry.spacing
    vault = mask[:, :, max(0, levels[-1] - int(_VAULT / cell[2])) : levels[-1] + 1].any(axis=2)
    width, length = (np.ptp(side) * mm for side, mm in zip(np.nonzero(vault), cell, strict=False))
    return bool(width <= 1.3 * _WIDTH[1] and length <= 1.3 * _LENGTH[1])


def _thinned(volume: Volume, mm: float) -> tuple[Float[np.ndarray, "x y z"], tuple[int, int, int]]:
    """(every n-th voxel, about `mm` apart, n along each axis)."""
    i, j, k = (max(1, int(mm / side)) for side in volume.geometry.spacing)
    return volume.array[0, ::i, ::j, ::k].astype(np.float32), (i, j, k)


def on_grid(volume: Volume) -> tuple[Float[np.ndarray, "x y z"], Float[np.ndarray, " 3"]]:
    """(values between their extreme percentiles as 0 to 1 on the coarse grid, first cell in mm)."""
    low, high = _extent(volume)
    shape = np.clip(np.ceil((high - low) / GRID).astype(int), 1, _MOST_CELLS)
    # What is cut from a field longer than a head is its lower end.
    low[2] = high[2] - shape[2] * GRID
    coarse, steps = _thinned(volume, GRID / 2)
    index = np.linalg.inv(volume.geometry.affine @ np.diag([*map(float, steps), 1.0]))
    to_voxel = index @ _grid_affine(low)
    values = ndimage.affine_transform(
        coarse, to_voxel, output_shape=tuple(shape), order=1, cval=float(coarse.min())
    )
    floor, peak = np.percentile(coarse[::2, ::2], [1, 99.5])
    return np.clip((values - floor) / max(float(peak - floor), 1e-6), 0, 1), low


def _grid_affine(corner: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "4 4"]:
    affine = np.diag([GRID, GRID, GRID, 1.0])
    affine[:3, 3] = corner
    return affine


def _extent(volume: Volume) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Corners of the field in RAS+ mm."""
    ends = np.array(np.meshgrid(*[(0, side - 1) for side in volume.geometry.spatial_shape]))
    affine = volume.geometry.affine
    corners = affine[:3, :3] @ ends.reshape(3, -1) + affine[:3, 3:]
    return corners.min(axis=1), corners.max(axis=1)


def _tissue(values: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The largest body, without what is thinner than two cells, its hollows filled."""
    mask = ndimage.binary_opening(values > 0.5 * _otsu(values), iterations=1)
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    closed = ndimage.binary_closing(np.pad(largest, 3), iterations=2)[3:-3, 3:-3, 3:-3]
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])


def _otsu(values: Float[np.ndarray, "x y z"]) -> float:
    """Otsu, "A threshold selection method from gray-level histograms", IEEE SMC 9, 1979."""
    counts, edges = np.histogram(values, 128, (0, 1))
    centers = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centers[np.argmax(np.nan_to_num(between))])
