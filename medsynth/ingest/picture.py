"""Gray pictures (PNG, JPEG, TIFF) as planes: stored values, exactly, or a refusal.

A picture says nothing of millimeters or sides: its plane is called axial and its pixels 1 mm wide,
both flagged. Pillow's own corrections (inversion of white-is-zero, rotation by EXIF, scaling of
fewer than 8 bits) are undone or flagged.
"""

from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps, UnidentifiedImageError

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume, to_ras
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.decode import narrowed
from medsynth.ingest.source import InputFile

_FORMATS = ("PNG", "JPEG", "TIFF")
_GRAY = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLES = 274, 258, 262, 277  # EXIF and TIFF 6.0 tags
_UPRIGHT = (0, 1)
_PNG_DEPTH, _PNG_COLOR = 24, 25  # bytes of the header chunk (PNG, 11.2.2)
_STEP_OF_DEPTH = {2: 85, 4: 17}  # by which Pillow spreads few bits over eight


def read_picture(file: InputFile, config: IngestConfig) -> tuple[Volume, tuple[str, ...]]:
    """(volume, flags) of a gray picture; raises UnreadableScan where it is none."""
    try:
        with Image.open(file.path, formats=_FORMATS) as picture:
            if picture.width * picture.height * 4 > config.max_bytes:
                raise UnreadableScan("too_large")
            _check_kind(file, picture)
            pixels, flags = _pixels(file, picture)
    except Image.DecompressionBombError:
        raise UnreadableScan("too_large") from None
    except (UnidentifiedImageError, SyntaxError):
        raise UnreadableScan("decode_failed") from None
    (gray,) = narrowed([pixels.T[..., None]])
    i, j, k = gray.shape
    volume = Volume(gray[None], Geometry((i, j, k), np.diag([-1.0, -1, 1, 1])))
    return to_ras(volume), ("spacing_assumed", *flags)


def _check_kind(file: InputFile, picture: Any) -> None:
    """Refuses what Pillow would open with less than is there: pages, colors cut to 8 bits."""
    if getattr(picture, "n_frames", 1) > 1:
        raise UnreadableScan("multi_page")
    # Pillow 13 scrambles the pixels of an uncompressed TIFF whose orientation swaps its axes.
    if picture.format == "TIFF" and _orientation(picture) not in _UPRIGHT:
        raise UnreadableScan("rotated")
    depth, channels = _depth(file, picture)
    if channels > 1 and depth > 8:
        raise UnreadableScan("unsupported_pixels")
    if picture.mode not in (*_GRAY, "P", "PA", "RGB", "RGBA"):
        raise UnreadableScan("color")


def _orientation(picture: Any) -> int:
    return int(picture.getexif().get(_ORIENTATION, 1))


def _depth(file: InputFile, picture: Any) -> tuple[int, int]:
    """(bits of one sample, samples of one pixel) as they are stored."""
    if picture.format == "PNG":
        with file.path.open("rb") as handle:
            head = handle.read(_PNG_COLOR + 1)
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[_PNG_COLOR], 1)
        return head[_PNG_DEPTH], channels
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(_BITS, (1,))
        return max(bits), int(picture.tag_v2.get(_SAMPLES, 1))
    return 8, len(picture.getbands())


def _pixels(
    file: InputFile, picture: Any
) -> tuple[Shaped[np.ndarray, "rows columns"], tuple[str, ...]]:
    flags: tuple[str, ...] = ("lossy",) if picture.format == "JPEG" else ()
    depth, _ = _depth(file, picture)
    is_inverted = picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0
    if _orientation(picture) not in _UPRIGHT:
        flags += ("orientation_applied",)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    gray = _gray(upright)
    if upright.mode == "L" and depth in _STEP_OF_DEPTH:
        gray = gray // _STEP_OF_DEPTH[depth]
    if not is_inverted:
        return gray, flags
    # TIFF's white-is-zero is turned over by Pillow up to 8 bits and left alone above.
    top = (1 << depth) - 1
    return (top - gray if depth <= 8 else gray), (*flags, "monochrome1")


def _gray(picture: Any) -> Shaped[np.ndarray, "rows columns"]:
    """The one channel of a gray picture; equal colors are one, others and holes are refused."""
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    pixels = np.asarray(picture)
    if picture.mode in ("LA", "RGBA"):
        if (pixels[..., -1] != 255).any():
            raise UnreadableScan("transparent")
        pixels = pixels[..., :-1]
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise UnreadableScan("color")
        pixels = np.ascontiguousarray(pixels[..., 0])
    native = pixels.astype(np.uint8 if picture.mode == "1" else pixels.dtype.newbyteorder("="))
    if native.dtype.kind == "f" and not np.isfinite(native).all():
        raise UnreadableScan("nonfinite")
    return native
