"""NIfTI volumes and plain pictures as RAS+ volumes; none of their text comes along."""

from typing import Any

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped
from nibabel.orientations import io_orientation
from PIL import Image

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume, to_ras
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.decode import narrowed
from medsynth.ingest.source import InputFile

_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_MOST_NONFINITE = 0.2  # share of voxels; above it there is no image left
_SAME_AFFINE = 0.1  # mm, between qform and sform at the volume's corners


def read_nifti(file: InputFile, config: IngestConfig) -> tuple[Volume, tuple[str, ...]]:
    """(volume, flags) of a single-file NIfTI-1 or NIfTI-2 image of three dimensions."""
    image: Any = nib.load(file.path)
    shape = _spatial_shape(image, config.max_volume_bytes)
    affine, flags = _affine(image, shape)
    slope, intercept = _scaling(image)
    stored = np.asarray(image.dataobj.get_unscaled()).reshape(shape)
    voxels = stored if (slope, intercept) == (1, 0) else stored * slope + intercept
    voxels, repaired = _finite(voxels)
    (voxels,) = narrowed([voxels.astype(voxels.dtype.newbyteorder("="))])
    return to_ras(Volume(voxels[None], Geometry(shape, affine))), flags + repaired


def _spatial_shape(image: Any, max_bytes: int) -> tuple[int, int, int]:
    dtype = image.header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise UnreadableScan("color" if dtype.fields else "unsupported_pixels")
    sides = [int(side) for side in image.shape]
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    if len(sides) > 3:
        raise UnreadableScan("multi_volume")
    i, j, k = [*sides, 1, 1, 1][:3]
    if min(i, j, k) < 1 or i * j * k * max(dtype.itemsize, 4) > max_bytes:
        raise UnreadableScan("too_large" if min(i, j, k) >= 1 else "bad_element")
    return i, j, k


def _affine(
    image: Any, shape: tuple[int, int, int]
) -> tuple[Float[np.ndarray, "4 4"], tuple[str, ...]]:
    header, flags = image.header, []
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None and sform is None:
        raise UnreadableScan("no_geometry")
    affine = np.array(sform if sform is not None else qform, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UnreadableScan("no_geometry")
    if qform is not None and sform is not None:
        flags += _disagreement(qform, sform, shape)
    unit = header.get_xyzt_units()[0]
    flags += ["unit_assumed"] if unit == "unknown" else []
    affine[:3] *= _TO_MM[unit]
    return affine, tuple(flags)


def _disagreement(
    qform: Float[np.ndarray, "4 4"], sform: Float[np.ndarray, "4 4"], shape: tuple[int, int, int]
) -> list[str]:
    """The sform is taken; a qform that turns the image another way makes it no image of ours."""
    if not np.array_equal(io_orientation(qform), io_orientation(sform)):
        raise UnreadableScan("no_geometry")
    corners = np.array([[0, 0, 0, 1], [*(side - 1 for side in shape), 1]]).T
    return ["affines_differ"] if np.abs((qform - sform) @ corners).max() > _SAME_AFFINE else []


def _scaling(image: Any) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN says that there is none (NIfTI-1, scl_slope)."""
    slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
    if not np.isfinite([slope, intercept]).all():
        raise UnreadableScan("bad_element")
    return slope, intercept


def _finite(
    voxels: Shaped[np.ndarray, "i j k"],
) -> tuple[Shaped[np.ndarray, "i j k"], tuple[str, ...]]:
    """NaN and infinity become the smallest finite value, flagged."""
    if voxels.dtype.kind != "f" or (is_finite := np.isfinite(voxels)).all():
        return voxels, ()
    if 1 - is_finite.mean() > _MOST_NONFINITE:
        raise UnreadableScan("nonfinite")
    return np.where(is_finite, voxels, voxels[is_finite].min()), ("nonfinite_replaced",)


def read_picture(file: InputFile, config: IngestConfig) -> tuple[Volume, tuple[str, ...]]:
    """(volume, flags) of a gray picture; its plane is called axial and its pixels 1 mm wide."""
    with Image.open(file.path) as picture:
        if picture.width * picture.height * 4 > config.max_bytes:
            raise UnreadableScan("too_large")
        flags = ("spacing_assumed",) + (("lossy",) if picture.format == "JPEG" else ())
        pixels = np.asarray(picture)
        is_palette = picture.mode not in ("L", "I;16", "I", "RGB", "RGBA", "LA")
    if is_palette:
        raise UnreadableScan("color")
    (gray,) = narrowed([_gray(pixels).T[..., None]])
    i, j, k = gray.shape
    return to_ras(Volume(gray[None], Geometry((i, j, k), np.diag([-1.0, -1, 1, 1])))), flags


def _gray(pixels: Shaped[np.ndarray, "rows columns *channels"]) -> Shaped[np.ndarray, "r c"]:
    """The one channel of a gray picture; equal color channels are one, others are refused."""
    if pixels.ndim == 2:
        return pixels
    colors = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
    if (colors != colors[..., :1]).any():
        raise UnreadableScan("color")
    return np.ascontiguousarray(colors[..., 0])
