"""The header of a NIfTI file as it stands there, before any library repairs it.

nibabel replaces a spacing of 0 by 1 and a negative one by its absolute value; here both are
refused. Source: NIfTI-1 (nifti1.h, 2007) and NIfTI-2 (nifti2.h, 2011).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.orientations import io_orientation

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.files.nifti_config import NiftiConfig

_SIZES: dict[int, tuple[Any, int]] = {348: (Nifti1Header, 352), 540: (Nifti2Header, 544)}
_MAGIC = (b"n+1", b"n+2")
_COMPLEX, _RGB, _BINARY = (32, 1792, 2048), (128, 2304), (1,)
_VECTORS = range(1004, 1011)  # NIFTI_INTENT_GENMATRIX to QUATERNION: several numbers a voxel
_TO_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIFTI_UNITS_METER, MM, MICRON
_PLAUSIBLE_MM = (0.001, 100.0)  # spacing
_FARTHEST_MM = 1e5  # of the first voxel; beyond, single precision loses hundredths of a millimeter
_SAME_MM = 0.1  # between qform and sform at the image's corners
_SAME_SPACING = 0.02  # share
_MOST_HEADER = 1 << 24  # bytes of header extensions
_ROUNDED = 1e-5  # how far a rotation stored in float32 may be from one


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What a header says: `sides` of the grid, `num_volumes` behind them, where and how stored.

    `offset` is where the voxels begin, in bytes; `slope` and `intercept` turn stored numbers into
    values; `affine` leads from voxels to RAS+ mm.
    """

    sides: tuple[int, int, int]
    num_volumes: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: Float[np.ndarray, "4 4"]
    flags: tuple[str, ...]

    @property
    def volume_bytes(self) -> int:
        """Bytes of one stored volume."""
        i, j, k = self.sides
        return i * j * k * self.dtype.itemsize


def header_size(start: bytes) -> int:
    """Bytes of the header that begins with these four."""
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")} & set(_SIZES)
    if not sizes:
        raise UnreadableScan("not_an_image")
    return sizes.pop()


def parse_header(data: bytes, config: NiftiConfig) -> NiftiHeader:
    """The header in these bytes; raises UnreadableScan where it cannot be believed."""
    kind, least_offset = _SIZES[header_size(data[:4])]
    raw = kind(data, check=False)
    if bytes(raw["magic"])[:3] not in _MAGIC:
        raise UnreadableScan("nifti_pair" if b"ni" in bytes(raw["magic"]) else "analyze")
    sides, num_volumes, num_spatial = _shape(raw)
    affine, flags = _affine(raw, sides, num_spatial, config)
    slope, intercept, ignored = _scaling(raw)
    offset = float(raw["vox_offset"])
    if not (least_offset <= offset <= _MOST_HEADER and offset.is_integer()):
        raise UnreadableScan("bad_element")
    return NiftiHeader(
        sides, num_volumes, _dtype(raw), int(offset), slope, intercept, affine, flags + ignored
    )


def _shape(raw: Any) -> tuple[tuple[int, int, int], int, int]:
    """(sides, volumes, axes of space that the header has)."""
    count = int(raw["dim"][0])
    if not 1 <= count <= 7:
        raise UnreadableScan("bad_element")
    dims = [int(side) for side in raw["dim"][1 : count + 1]]
    if min(dims) < 1:
        raise UnreadableScan("empty" if 0 in dims else "bad_element")
    i, j, k, *rest = [*dims, 1, 1, 1][: max(3, count)]
    num_volumes = int(np.prod(rest, dtype=object)) if rest else 1
    if num_volumes > 1 and (int(raw["intent_code"]) in _VECTORS or max(rest[1:], default=1) > 1):
        raise UnreadableScan("vector_data")
    return (i, j, k), num_volumes, min(count, 3)


def _dtype(raw: Any) -> np.dtype[Any]:
    code = int(raw["datatype"])
    for codes, reason in ((_COMPLEX, "complex"), (_RGB, "color"), (_BINARY, "unsupported_pixels")):
        if code in codes:
            raise UnreadableScan(reason)
    try:
        dtype: np.dtype[Any] = raw.get_data_dtype()
    except Exception:
        raise UnreadableScan("unsupported_pixels") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnreadableScan("unsupported_pixels")
    return dtype


def _scaling(raw: Any) -> tuple[float, float, tuple[str, ...]]:
    """(slope, intercept, flags); a slope of 0 says that there is none (nifti1.h, scl_slope)."""
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0:
        return 1.0, 0.0, ()
    if not np.isfinite(slope):
        return 1.0, 0.0, ("slope_ignored",)
    if not np.isfinite(intercept):
        raise UnreadableScan("bad_element")
    return slope, intercept, ()


def _affine(
    raw: Any, sides: tuple[int, int, int], num_spatial: int, config: NiftiConfig
) -> tuple[Float[np.ndarray, "4 4"], tuple[str, ...]]:
    zooms = [float(mm) for mm in raw["pixdim"][1 : num_spatial + 1]]
    if not np.isfinite(zooms).all() or min(zooms) <= 0:
        raise UnreadableScan("bad_spacing")
    unit = int(raw["xyzt_units"]) & 0x07
    to_mm = np.diag([_TO_MM.get(unit, 1.0)] * 3 + [1.0])
    flags = () if unit in _TO_MM else ("unit_assumed",)
    qform, sform = (to_mm @ form if form is not None else None for form in _forms(raw, zooms))
    affine, chosen = _chosen(qform, sform, sides, config)
    if chosen == "orientation_assumed":
        affine = to_mm @ np.diag(np.append([*zooms, 1.0, 1.0][:3], 1.0))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((_PLAUSIBLE_MM[0] <= spacing) & (spacing <= _PLAUSIBLE_MM[1])).all():
        raise UnreadableScan("bad_spacing")
    is_near = float(np.abs(affine[:3, 3]).max()) <= _FARTHEST_MM
    if not is_near or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise UnreadableScan("no_geometry")
    given = np.array(zooms) * to_mm[0, 0]
    if not np.allclose(spacing[:num_spatial], given, rtol=_SAME_SPACING):
        chosen = "affines_differ"
    return affine, flags + ((chosen,) if chosen else ())


def _forms(raw: Any, zooms: list[float]) -> list[Float[np.ndarray, "4 4"] | None]:
    """qform and sform in the file's own unit, `None` where its code says that there is none."""
    qform = _qform(raw, zooms) if int(raw["qform_code"]) > 0 else None
    sform = None
    if int(raw["sform_code"]) > 0:
        rows = [np.asarray(raw[f"srow_{axis}"], np.float64) for axis in "xyz"]
        sform = np.vstack([*rows, [0.0, 0.0, 0.0, 1.0]])
    for form in (qform, sform):
        if form is not None and not np.isfinite(form).all():
            raise UnreadableScan("no_geometry")
    return [qform, sform]


def _qform(raw: Any, zooms: list[float]) -> Float[np.ndarray, "4 4"]:
    """The affine of the quaternion (nifti1.h, method 2)."""
    b, c, d = (float(raw[f"quatern_{letter}"]) for letter in "bcd")
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest >= -_ROUNDED:
        raise UnreadableScan("no_geometry")
    a = max(rest, 0.0) ** 0.5
    axes = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
            [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
            [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - c * c - b * b],
        ]
    )
    handedness = -1.0 if float(raw["pixdim"][0]) < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = axes * ([*zooms, 1.0, 1.0][:3]) * [1.0, 1.0, handedness]
    affine[:3, 3] = [float(raw[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _chosen(
    qform: Float[np.ndarray, "4 4"] | None,
    sform: Float[np.ndarray, "4 4"] | None,
    sides: tuple[int, int, int],
    config: NiftiConfig,
) -> tuple[Float[np.ndarray, "4 4"], str]:
    """(affine, flag): the sform, or what the configuration says where the two are not one."""
    if qform is None or sform is None:
        affine = sform if sform is not None else qform
        if affine is not None:
            return affine, ""
        if config.no_affine == "refuse":
            raise UnreadableScan("no_geometry")
        return np.eye(4), "orientation_assumed"
    apart = _apart(qform, sform, sides)
    if config.conflict == "refuse" and apart > config.tolerance_mm:
        raise UnreadableScan("affine_conflict")
    chosen = qform if config.conflict == "qform" else sform
    return chosen, "affines_differ" if apart > _SAME_MM else ""


def _apart(
    qform: Float[np.ndarray, "4 4"], sform: Float[np.ndarray, "4 4"], sides: tuple[int, int, int]
) -> float:
    """How far the two put a corner apart, mm; infinitely where axes run another way."""
    if not np.array_equal(io_orientation(qform), io_orientation(sform)):
        return np.inf
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(sides)[:, None] - 1)
    moved = (qform - sform) @ np.vstack([corners, np.ones(8)])
    return float(np.linalg.norm(moved[:3], axis=0).max())
