"""From images to volumes: grouped by what one volume shares, ordered along the plane normal.

The affine comes from positions alone, so a tilted or drifting stack becomes a sheared one.
Tolerances are those that pass the 45 cases of reference/ingest.md, section 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume
from medsynth.ingest.dicom.acquisition import agreed
from medsynth.ingest.dicom.decode import Plane, narrowed
from medsynth.ingest.dicom.frame import Frame
from medsynth.ingest.dicom.grouping import SAME_POSITION, group_frames, in_order, normal_of

__all__ = ["Stack", "group_frames", "in_order", "stack_planes"]

SAME_PLACE = 1e-2  # mm across the normal, at one position along it
SHEAR_ANGLE = "ShearAngle"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_PLANES_PER_IMAGE = 8  # a gap that would need more is not filled


@dataclass(frozen=True, eq=False)
class Stack:
    """A volume in RAS+, its flags, and where each plane came from.

    `planes` holds, plane by plane along the RAS+ axis `plane_axis`, the frame a plane is, or the
    two that it was interpolated between; `dropped` are duplicates that were not needed.
    """

    volume: Volume
    flags: tuple[str, ...]
    planes: tuple[tuple[Frame, ...], ...]
    plane_axis: int
    dropped: tuple[Frame, ...] = ()
    acquisition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def used(self) -> tuple[Frame, ...]:
        """The frames of the volume, each once."""
        return tuple({id(frame): frame for plane in self.planes for frame in plane}.values())

    @property
    def observed(self) -> float:
        """Share of the planes that were seen and not interpolated."""
        return sum(len(plane) == 1 for plane in self.planes) / len(self.planes)


def stack_planes(planes: Sequence[Plane]) -> Stack:
    """One volume of the decoded planes of one group; raises UnreadableScan where they conflict."""
    if planes[0].frame.is_detector_plane:
        return _detector_plane(planes)
    kept, dropped = _without_duplicates(planes)
    origins = np.array([plane.frame.position for plane in kept])
    step, fill, flags = _steps(kept[0].frame, origins)
    values = _filled([plane.values for plane in kept], fill)
    flags += tuple(flag for plane in kept for flag in plane.flags)
    flags += ("duplicates_dropped",) if dropped else ()
    affine = _affine(kept[0].frame, origins[0], step)
    frames = [plane.frame for plane in kept]
    sources, axis = _placed(_sources(frames, fill), affine)
    acquisition = agreed(frame.acquisition for frame in frames)
    acquisition |= _shear_angle(step, normal_of(frames[0])) if "sheared" in flags else {}
    told = tuple(sorted(set(flags)))
    return Stack(_volume(values, affine), told, sources, axis, dropped, acquisition)


def _detector_plane(planes: Sequence[Plane]) -> Stack:
    """A projection image; its plane is called axial, since nothing says how the patient stood."""
    first, *others = planes
    if any(not np.array_equal(first.values, other.values) for other in others):
        raise UnreadableScan("duplicate_conflict")
    rows, columns = first.frame.spacing or (1.0, 1.0)
    flags = {"detector_plane", *first.flags}
    flags |= set() if first.frame.spacing else {"spacing_assumed"}
    affine = np.diag([-columns, -rows, 1.0, 1.0])
    volume = _volume([first.values], affine)
    dropped = tuple(other.frame for other in others)
    told, planes_of = tuple(sorted(flags)), ((first.frame,),)
    return Stack(volume, told, planes_of, 2, dropped, first.frame.acquisition)


def _without_duplicates(planes: Sequence[Plane]) -> tuple[list[Plane], tuple[Frame, ...]]:
    """Planes in order along the normal; identical ones at one place are kept once."""
    normal = normal_of(planes[0].frame)
    ordered = sorted(planes, key=lambda plane: float(np.dot(plane.frame.position or (), normal)))
    kept, dropped = ordered[:1], []
    for plane in ordered[1:]:
        offset = np.subtract(plane.frame.position or (), kept[-1].frame.position or ())
        if float(offset @ normal) >= SAME_POSITION:
            kept.append(plane)
        elif np.abs(offset).max() > SAME_PLACE or not np.array_equal(plane.values, kept[-1].values):
            raise UnreadableScan("duplicate_conflict")
        else:
            dropped.append(plane.frame)
    return kept, tuple(dropped)


Fill = tuple[Int[np.ndarray, " grid"], Float[np.ndarray, " grid"]] | None


def _steps(
    frame: Frame, origins: Float[np.ndarray, "planes 3"]
) -> tuple[Float[np.ndarray, "3"], Fill, tuple[str, ...]]:
    """(step in mm, how to fill gaps, flags) of ordered plane origins."""
    normal = normal_of(frame)
    if len(origins) == 1:
        assumed = () if frame.thickness else ("spacing_assumed",)
        return normal * (frame.thickness or 1.0), None, ("single_slice", *assumed)
    along = (origins - origins[0]) @ normal
    _check_line(along, origins)
    gaps = np.diff(along)
    tolerance = 0.02 * float(np.median(gaps)) + 0.01
    mean = (origins[-1] - origins[0]) / (len(origins) - 1)
    flags = _shear_flag(mean, normal)
    if np.abs(along - np.linspace(0, along[-1], len(along))).max() <= tolerance:
        return mean, None, flags
    count, fill, flag = _regular_grid(along, gaps, tolerance)
    return (origins[-1] - origins[0]) / (count - 1), fill, (*flags, flag)


def _check_line(
    along: Float[np.ndarray, " planes"], origins: Float[np.ndarray, "planes 3"]
) -> None:
    """Origins must lie on one straight line, however far apart; a bent stack has no affine."""
    line = origins[0] + np.outer(along / along[-1], origins[-1] - origins[0])
    tolerance = 0.02 * float(np.median(np.diff(along))) + 0.01
    if np.abs(origins - line).max() > tolerance:
        raise UnreadableScan("no_geometry")


def _shear_flag(step: Float[np.ndarray, "3"], normal: Float[np.ndarray, "3"]) -> tuple[str, ...]:
    across = step - (step @ normal) * normal
    return ("sheared",) if np.linalg.norm(across) > 0.01 * abs(step @ normal) else ()


def _shear_angle(step: Float[np.ndarray, "3"], normal: Float[np.ndarray, "3"]) -> dict[str, float]:
    """The angle between the stack's axis and the planes' normal, degrees."""
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    return {SHEAR_ANGLE: round(float(np.degrees(np.arccos(min(cosine, 1.0)))), 2)}


def _regular_grid(
    along: Float[np.ndarray, " planes"], gaps: Float[np.ndarray, " gaps"], tolerance: float
) -> tuple[int, Fill, str]:
    """(planes, fill, flag) of the grid at the smallest step that spans the stack."""
    count = round(float(along[-1] / gaps.min())) + 1
    if count > _MOST_PLANES_PER_IMAGE * len(along):
        raise UnreadableScan("variable_spacing")
    grid = np.linspace(0, along[-1], count)
    nearest = np.abs(along[:, None] - grid).min(axis=1).max()
    where = np.clip(np.searchsorted(along, grid, side="right") - 1, 0, len(along) - 2)
    weight = np.clip((grid - along[where]) / gaps[where], 0, 1)
    # A plane that was observed stays as it was: jitter must not blur it.
    snapped = np.where(
        np.abs(weight - weight.round()) * gaps[where] <= tolerance, weight.round(), weight
    )
    return count, (where, snapped), "missing_slices" if nearest <= tolerance else "variable_spacing"


def _filled(
    values: list[Shaped[np.ndarray, "rows columns"]], fill: Fill
) -> list[Shaped[np.ndarray, "rows columns"]]:
    """The planes of the regular grid, interpolated linearly where none was observed."""
    if fill is None:
        return values
    planes = []
    for where, weight in zip(*fill, strict=True):
        if weight in (0, 1):
            planes.append(values[where + int(weight)])
        else:
            planes.append((1 - weight) * values[where] + weight * values[where + 1])
    return planes


def _sources(frames: Sequence[Frame], fill: Fill) -> list[tuple[Frame, ...]]:
    """The frames that each plane of the grid is made of."""
    if fill is None:
        return [(frame,) for frame in frames]
    return [
        (frames[at + int(weight)],) if weight in (0, 1) else (frames[at], frames[at + 1])
        for at, weight in zip(*fill, strict=True)
    ]


def _placed(
    sources: list[tuple[Frame, ...]], affine: Float[np.ndarray, "4 4"]
) -> tuple[tuple[tuple[Frame, ...], ...], int]:
    """(sources in RAS+ order, the RAS+ axis along which the planes lie)."""
    axis, sign = io_orientation(affine)[2]
    return tuple(sources if sign > 0 else reversed(sources)), int(axis)


def _affine(
    frame: Frame, origin: Float[np.ndarray, "3"], step: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "4 4"]:
    """From (column, row, plane) to RAS+ mm; DICOM's first spacing is the distance between rows."""
    axes, (rows, columns) = np.array(frame.orientation).reshape(2, 3), frame.spacing or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3] = np.column_stack([axes[0] * columns, axes[1] * rows, step, origin])
    return LPS_TO_RAS @ lps


def _volume(
    planes: Sequence[Shaped[np.ndarray, "rows columns"]], affine: Float[np.ndarray, "4 4"]
) -> Volume:
    """The planes as one RAS+ volume: a view of them where they lie in one piece."""
    array = _in_one_piece(narrowed(planes)).transpose(2, 1, 0)
    turn = io_orientation(affine)
    turned = affine @ inv_ornt_aff(turn, array.shape)
    array = apply_orientation(array, turn)
    i, j, k = array.shape
    return Volume(array[None], Geometry((i, j, k), turned))


def _in_one_piece(
    planes: Sequence[Shaped[np.ndarray, "rows columns"]],
) -> Shaped[np.ndarray, "planes rows columns"]:
    """The planes in one array, without a copy where they follow each other in memory."""
    first, size = planes[0], planes[0].nbytes
    begin = first.__array_interface__["data"][0]
    follow = all(
        plane.base is first.base
        and plane.flags.c_contiguous
        and plane.__array_interface__["data"][0] == begin + number * size
        for number, plane in enumerate(planes)
    )
    if first.base is None or not follow:
        return np.stack(planes)
    shape = (len(planes), *first.shape)
    return np.lib.stride_tricks.as_strided(first, shape, (size, *first.strides), writeable=False)
