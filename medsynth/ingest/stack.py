"""From images to volumes: grouped by what one volume shares, ordered along the plane normal.

The affine comes from positions alone, so a tilted or drifting stack becomes a sheared one.
Tolerances are those that pass the 45 cases of reference/ingest.md, section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume, to_ras
from medsynth.ingest.decode import Plane, narrowed
from medsynth.ingest.index import Header

SAME_ORIENTATION = 1e-3  # largest difference of a direction cosine within one volume
SAME_POSITION = 1e-3  # mm along the normal
SAME_PLACE = 1e-2  # mm across it
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_PLANES_PER_IMAGE = 8  # a gap that would need more is not filled


@dataclass(frozen=True, eq=False)
class Stack:
    """A volume in RAS+, its flags, the images it is made of in order, and those it did not need."""

    volume: Volume
    flags: tuple[str, ...]
    used: tuple[Header, ...]
    dropped: tuple[Header, ...] = ()


def group_headers(headers: Sequence[Header]) -> list[list[Header]]:
    """Headers that belong to one volume each, in order of their first file."""
    groups: dict[tuple[object, ...], list[list[Header]]] = {}
    for header in headers:
        candidates = groups.setdefault(_key(header), [])
        for group in candidates:
            if _same_orientation(group[0], header):
                group.append(header)
                break
        else:
            candidates.append([header])
    return [group for candidates in groups.values() for group in candidates]


def _key(header: Header) -> tuple[object, ...]:
    series = (header.keys["PatientID"], header.keys["SeriesInstanceUID"], header.modality)
    if header.is_detector_plane:
        return (*series, header.keys["SOPInstanceUID"])
    spacing = tuple(round(mm, 4) for mm in header.spacing or ())
    return (*series, header.shape, spacing, header.volume_key)


def _same_orientation(one: Header, other: Header) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation
    return bool(np.allclose(one.orientation, other.orientation, rtol=0, atol=SAME_ORIENTATION))


def stack_planes(planes: Sequence[Plane]) -> Stack:
    """One volume of the decoded planes of one group; raises UnreadableScan where they conflict."""
    if planes[0].header.is_detector_plane:
        return _detector_plane(planes)
    kept, dropped = _without_duplicates(planes)
    origins = np.array([plane.header.position for plane in kept])
    step, fill, flags = _steps(kept[0].header, origins)
    values = _filled([plane.values for plane in kept], fill)
    flags += tuple(flag for plane in kept for flag in plane.flags)
    flags += ("duplicates_dropped",) if dropped else ()
    volume = to_ras(_volume(values, _affine(kept[0].header, origins[0], step)))
    used = tuple(plane.header for plane in kept)
    return Stack(volume, tuple(sorted(set(flags))), used, dropped)


def _detector_plane(planes: Sequence[Plane]) -> Stack:
    """A projection image; its plane is called axial, since nothing says how the patient stood."""
    first, *others = planes
    if any(not np.array_equal(first.values, other.values) for other in others):
        raise UnreadableScan("duplicate_conflict")
    rows, columns = first.header.spacing or (1.0, 1.0)
    flags = {"detector_plane", *first.flags}
    flags |= set() if first.header.spacing else {"spacing_assumed"}
    affine = np.diag([-columns, -rows, 1.0, 1.0])
    volume = to_ras(_volume([first.values], affine))
    dropped = tuple(other.header for other in others)
    return Stack(volume, tuple(sorted(flags)), (first.header,), dropped)


def _normal(header: Header) -> Float[np.ndarray, "3"]:
    axes = np.array(header.orientation).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    return np.asarray(normal / np.linalg.norm(normal))


def _without_duplicates(planes: Sequence[Plane]) -> tuple[list[Plane], tuple[Header, ...]]:
    """Planes in order along the normal; identical ones at one place are kept once."""
    normal = _normal(planes[0].header)
    ordered = sorted(planes, key=lambda plane: float(np.dot(plane.header.position or (), normal)))
    kept, dropped = ordered[:1], []
    for plane in ordered[1:]:
        offset = np.subtract(plane.header.position or (), kept[-1].header.position or ())
        if float(offset @ normal) >= SAME_POSITION:
            kept.append(plane)
        elif np.abs(offset).max() > SAME_PLACE or not np.array_equal(plane.values, kept[-1].values):
            raise UnreadableScan("duplicate_conflict")
        else:
            dropped.append(plane.header)
    return kept, tuple(dropped)


Fill = tuple[Int[np.ndarray, " grid"], Float[np.ndarray, " grid"]] | None


def _steps(
    header: Header, origins: Float[np.ndarray, "planes 3"]
) -> tuple[Float[np.ndarray, "3"], Fill, tuple[str, ...]]:
    """(step in mm, how to fill gaps, flags) of ordered plane origins."""
    normal = _normal(header)
    if len(origins) == 1:
        assumed = () if header.thickness else ("spacing_assumed",)
        return normal * (header.thickness or 1.0), None, ("single_slice", *assumed)
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


def _affine(
    header: Header, origin: Float[np.ndarray, "3"], step: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "4 4"]:
    """From (column, row, plane) to RAS+ mm; DICOM's first spacing is the distance between rows."""
    axes, (rows, columns) = np.array(header.orientation).reshape(2, 3), header.spacing or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3] = np.column_stack([axes[0] * columns, axes[1] * rows, step, origin])
    return LPS_TO_RAS @ lps


def _volume(
    planes: Sequence[Shaped[np.ndarray, "rows columns"]], affine: Float[np.ndarray, "4 4"]
) -> Volume:
    array = np.stack([plane.T for plane in narrowed(planes)], axis=-1)
    i, j, k = array.shape
    return Volume(array[None], Geometry((i, j, k), affine))
