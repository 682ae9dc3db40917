"""Compressed images to numbers: one encapsulated frame at a time, by imagecodecs alone.

Imported in the sandbox's child, which runs it on bytes that nobody has checked. The stream's own
size must be the header's before anything is decoded, since a few bytes may declare gigabytes.
Source: DICOM PS3.5, section 8.2 and annexes A.4 and G; ISO 15444-1, annex A; ISO 14495-1, annex C.
"""

from collections.abc import Callable, Iterator
from typing import Any

import imagecodecs
import numpy as np
from jaxtyping import Integer

from medsynth.core.errors import UnreadableScan

_JPEG_SIZE = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}  # frame headers: baseline to lossless, JPEG-LS
_SCAN = 0xDA
_ALONE = {0x01, 0xFF, *range(0xD0, 0xD9)}  # markers without a length
_SIZ = b"\xff\x4f\xff\x51"


def decode_fragment(
    syntax: str,
    data: bytes,
    shape: tuple[int, int],
    bits_allocated: int,
    bits_stored: int,
    signed: bool,
) -> Integer[np.ndarray, "rows columns"]:
    """One image as unsigned integers of the bits allocated; a sign is in their highest bit stored.

    Raises UnreadableScan where the stream is of another size or kind than the header says.
    """
    if syntax not in SYNTAXES:
        raise UnreadableScan("unsupported_transfer_syntax")
    if bits_allocated not in (8, 16, 32):
        raise UnreadableScan("unsupported_pixels")
    container = np.dtype(f"u{bits_allocated // 8}")
    if syntax == RLE:
        return _run_lengths(data, shape, container)
    check, decode = _DECODERS[syntax]
    check(data, shape, bits_stored, signed)
    image = np.asarray(decode(data))
    if image.shape != shape or image.dtype.kind not in "iu":
        raise UnreadableScan("decode_failed")
    return _contained(image, container)


def _contained(image: Any, container: np.dtype[Any]) -> Integer[np.ndarray, "rows columns"]:
    """The image in the container; raises UnreadableScan where a value does not fit."""
    bits = container.itemsize * 8
    if image.dtype.itemsize > container.itemsize and image.size:
        low, high = int(image.min()), int(image.max())
        if low < -(1 << bits - 1) or high >= 1 << bits:
            raise UnreadableScan("decode_failed")
    if image.dtype.itemsize == container.itemsize and image.dtype.isnative:
        image = image.view(container)
    contained: Integer[np.ndarray, "rows columns"] = image.astype(container, copy=False)
    return contained


def _run_lengths(
    data: bytes, shape: tuple[int, int], container: np.dtype[Any]
) -> Integer[np.ndarray, "rows columns"]:
    if int.from_bytes(data[:4], "little") != container.itemsize:
        raise UnreadableScan("decode_failed")
    size = shape[0] * shape[1] * container.itemsize
    planes = imagecodecs.dicomrle_decode(data, container.str, out=size)
    image: Integer[np.ndarray, "rows columns"] = np.frombuffer(planes, container).reshape(shape)
    return image


def is_near_lossless(data: bytes) -> bool:
    """Whether a JPEG-LS stream allows errors (NEAR above 0), whatever its syntax promises."""
    for marker, at in _segments(data):
        if marker == _SCAN:
            components = data[at + 2]
            return bool(data[at + 3 + 2 * components])
    return False


def _check_jpeg(data: bytes, shape: tuple[int, int], bits_stored: int, signed: bool) -> None:
    for marker, at in _segments(data):
        if marker in _JPEG_SIZE:
            size = int.from_bytes(data[at + 3 : at + 5]), int.from_bytes(data[at + 5 : at + 7])
            if size != shape or data[at + 7] != 1:
                raise UnreadableScan("decode_failed")
            return
    raise UnreadableScan("decode_failed")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length) of the segments up to the first scan."""
    at = 0
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise UnreadableScan("decode_failed")
        marker = data[at + 1]
        if marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        yield marker, at + 2
        if marker == _SCAN:
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


def _check_jpeg2000(data: bytes, shape: tuple[int, int], bits_stored: int, signed: bool) -> None:
    """The size of the stream, and a sign that can be told where the header says otherwise."""
    at = data.find(_SIZ)
    header = data[at + 4 : at + 4 + 41]
    if at < 0 or len(header) < 41:
        raise UnreadableScan("decode_failed")
    right, below, left, above = (int.from_bytes(header[i : i + 4]) for i in (4, 8, 12, 16))
    if (below - above, right - left) != shape or header[36:38] != b"\0\1":
        raise UnreadableScan("decode_failed")
    precision, is_signed = (header[38] & 0x7F) + 1, header[38] > 0x7F
    if is_signed != signed and precision != bits_stored:
        # A sign bit may lie anywhere then: no reading of it is more right than another.
        raise UnreadableScan("decode_failed")


def _unchecked(data: bytes, shape: tuple[int, int], bits_stored: int, signed: bool) -> None:
    """JPEG XL states its size in a bit stream; the sandbox's limits hold it."""


Check = Callable[[bytes, tuple[int, int], int, bool], None]
RLE = "1.2.840.10008.1.2.5"
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_PREFIX = "1.2.840.10008.1.2.4."
_FAMILIES: tuple[tuple[tuple[int, ...], Check, Callable[[bytes], Any]], ...] = (
    ((50, 51), _check_jpeg, imagecodecs.jpeg8_decode),
    ((57, 70), _check_jpeg, imagecodecs.ljpeg_decode),
    ((80, 81), _check_jpeg, imagecodecs.jpegls_decode),
    ((90, 91, 201, 202, 203), _check_jpeg2000, imagecodecs.jpeg2k_decode),
    ((110, 111, 112), _unchecked, imagecodecs.jpegxl_decode),
)
_DECODERS: dict[str, tuple[Check, Callable[[bytes], Any]]] = {
    f"{_PREFIX}{number}": (check, decode)
    for numbers, check, decode in _FAMILIES
    for number in numbers
}
SYNTAXES = frozenset((RLE, *_DECODERS))
"""Compressed transfer syntaxes that can be decoded."""
