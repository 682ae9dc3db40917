"""Pixels of gray pictures (PNG, JPEG, TIFF) by Pillow, exactly as stored, or a refusal.

Imported in the sandbox's child: Pillow's codecs are C code, and libtiff tells the terminal what it
thinks of a damaged file. Pillow's own corrections (inversion of white-is-zero, rotation by EXIF,
scaling of fewer than 8 bits) are undone or flagged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps, UnidentifiedImageError

from medsynth.core.errors import UnreadableScan

_FORMATS = ("PNG", "JPEG", "TIFF")
_GRAY = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION, _BITS, _PHOTOMETRIC, _SAMPLES = 274, 258, 262, 277  # EXIF and TIFF 6.0 tags
_UPRIGHT = (0, 1)
_PNG_DEPTH, _PNG_COLOR = 24, 25  # bytes of the header chunk (PNG, 11.2.2)
_STEP_OF_DEPTH = {2: 85, 4: 17}  # by which Pillow spreads few bits over eight


def picture_flags(path: str, max_bytes: int) -> list[str]:
    """What must be flagged of a picture; raises UnreadableScan where it is no gray one."""
    with _opened(path, max_bytes) as picture:
        return _flags(picture)


def picture_pixels(path: str, max_bytes: int) -> Shaped[np.ndarray, "rows columns"]:
    """The stored values of a gray picture."""
    with _opened(path, max_bytes) as picture:
        return _pixels(path, picture)


@contextmanager
def _opened(path: str, max_bytes: int) -> Iterator[Any]:
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            if picture.width * picture.height * 4 > max_bytes:
                raise UnreadableScan("too_large")
            _check_kind(path, picture)
            yield picture
    except Image.DecompressionBombError:
        raise UnreadableScan("too_large") from None
    except (UnidentifiedImageError, SyntaxError):
        raise UnreadableScan("decode_failed") from None
    except OSError:
        raise UnreadableScan("truncated") from None


def _check_kind(path: str, picture: Any) -> None:
    """Refuses what Pillow would open with less than is there: pages, colors cut to 8 bits."""
    if getattr(picture, "n_frames", 1) > 1:
        raise UnreadableScan("multi_page")
    # Pillow 13 scrambles the pixels of an uncompressed TIFF whose orientation swaps its axes.
    if picture.format == "TIFF" and _orientation(picture) not in _UPRIGHT:
        raise UnreadableScan("rotated")
    depth, channels = _depth(path, picture)
    if channels > 1 and depth > 8:
        raise UnreadableScan("unsupported_pixels")
    if picture.mode not in (*_GRAY, "P", "PA", "RGB", "RGBA"):
        raise UnreadableScan("color")


def _orientation(picture: Any) -> int:
    return int(picture.getexif().get(_ORIENTATION, 1))


def _depth(path: str, picture: Any) -> tuple[int, int]:
    """(bits of one sample, samples of one pixel) as they are stored."""
    if picture.format == "PNG":
        with open(path, "rb") as handle:
            head = handle.read(_PNG_COLOR + 1)
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(head[_PNG_COLOR], 1)
        return head[_PNG_DEPTH], channels
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(_BITS, (1,))
        return max(bits), int(picture.tag_v2.get(_SAMPLES, 1))
    return 8, len(picture.getbands())


def _flags(picture: Any) -> list[str]:
    is_turned = _orientation(picture) not in _UPRIGHT
    told = {
        "lossy": picture.format == "JPEG",
        "orientation_applied": is_turned,
        "monochrome1": _is_inverted(picture),
    }
    return [flag for flag, holds in told.items() if holds]


def _is_inverted(picture: Any) -> bool:
    return bool(picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0)


def _pixels(path: str, picture: Any) -> Shaped[np.ndarray, "rows columns"]:
    depth, _ = _depth(path, picture)
    is_inverted = _is_inverted(picture)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    gray = _gray(upright)
    if upright.mode == "L" and depth in _STEP_OF_DEPTH:
        gray = gray // _STEP_OF_DEPTH[depth]
    # TIFF's white-is-zero is turned over by Pillow up to 8 bits and left alone above.
    return (1 << depth) - 1 - gray if is_inverted and depth <= 8 else gray


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
