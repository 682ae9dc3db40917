"""Pixels of one DICOM image as numbers: decoded, masked to the bits stored, rescaled.

Native transfer syntaxes go the short way (length checked, one `frombuffer`); the others through
pydicom's decoders. MONOCHROME1 is a matter of display: values stay as they are.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, Shaped
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSNearLossless,
)

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import STORED_DTYPES
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.index import Frame, open_dicom

_LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.91",
    JPEGLSNearLossless,
}


@dataclass(frozen=True, eq=False)
class Plane:
    """One decoded image: rescaled values (rows, columns) and what must be flagged."""

    frame: Frame
    values: Float[np.ndarray, "rows columns"] | Integer[np.ndarray, "rows columns"]
    flags: tuple[str, ...]


Guard = Callable[[Frame], AbstractContextManager[None]]
"""Given a frame: a context that counts whatever goes wrong inside, and goes on after it."""


def decode_frames(frames: Sequence[Frame], config: IngestConfig, guard: Guard) -> list[Plane]:
    """The planes that can be decoded; the others are left to `guard`, one by one."""
    planes = []
    for frame in frames:
        with guard(frame):
            planes.append(_decode(frame, config.max_bytes))
    return planes


def _decode(frame: Frame, max_bytes: int) -> Plane:
    dataset = dcmread(open_dicom(frame.file, max_bytes), force=True)
    if "PixelData" not in dataset:
        raise UnreadableScan("not_an_image")
    if "ModalityLUTSequence" in dataset:
        raise UnreadableScan("unsupported_pixels")
    syntax = _transfer_syntax(dataset)
    stored = _native(dataset, syntax) if not syntax.is_encapsulated else _decoded(dataset, syntax)
    if stored.shape != frame.shape:
        raise UnreadableScan("decode_failed")
    return Plane(frame, _rescaled(dataset, _masked(dataset, stored)), _flags(dataset, syntax))


def _transfer_syntax(dataset: Dataset) -> UID:
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else UID("1.2.840.10008.1.2.1")
        syntax = syntax if little else ExplicitVRBigEndian
    if not syntax.is_transfer_syntax:
        raise UnreadableScan("unsupported_transfer_syntax")
    return UID(syntax)


def _native(dataset: Dataset, syntax: UID) -> Shaped[np.ndarray, "rows columns"]:
    bits = int(dataset.BitsAllocated)
    if bits not in (8, 16, 32):
        raise UnreadableScan("unsupported_pixels")
    kind = "i" if int(dataset.PixelRepresentation) else "u"
    order = "<" if syntax.is_little_endian else ">"
    count = int(dataset.Rows) * int(dataset.Columns)
    data = dataset.PixelData
    if len(data) < count * bits // 8:
        raise UnreadableScan("truncated")
    if bits == 8 and order == ">":
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    values = np.frombuffer(data, f"{order}{kind}{bits // 8}", count)
    return values.reshape(int(dataset.Rows), int(dataset.Columns))


def _decoded(dataset: Dataset, syntax: UID) -> Shaped[np.ndarray, "rows columns"]:
    try:
        is_available = get_decoder(syntax).is_available
    except NotImplementedError:
        is_available = False
    if not is_available:
        raise UnreadableScan("unsupported_transfer_syntax")
    values: Shaped[np.ndarray, "rows columns"] = dataset.pixel_array
    return values


def _masked(
    dataset: Dataset, values: Shaped[np.ndarray, "rows columns"]
) -> Integer[np.ndarray, "rows columns"]:
    """The bits that are stored, without what lies above them, sign kept."""
    bits = int(dataset.BitsStored)
    high = int(dataset.get("HighBit", bits - 1))
    if values.dtype.kind not in "iu" or not 0 < bits <= high + 1 <= values.dtype.itemsize * 8:
        raise UnreadableScan("bad_element")
    up, down = values.dtype.itemsize * 8 - 1 - high, values.dtype.itemsize * 8 - bits
    native = values.astype(values.dtype.newbyteorder("="))
    masked: Integer[np.ndarray, "rows columns"] = (native << up) >> down
    return masked


def _rescaled(
    dataset: Dataset, values: Integer[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns"] | Integer[np.ndarray, "rows columns"]:
    slope = float(dataset.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    if not np.isfinite([slope, intercept]).all():
        raise UnreadableScan("bad_element")
    if slope == 1 and intercept.is_integer():
        return values.astype(np.int64) + int(intercept)
    return values * slope + intercept


def _flags(dataset: Dataset, syntax: UID) -> tuple[str, ...]:
    flags = []
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        flags.append("monochrome1")
    if syntax in _LOSSY or str(dataset.get("LossyImageCompression", "")) == "01":
        flags.append("lossy")
    return tuple(flags)


def narrowed(
    arrays: Sequence[Shaped[np.ndarray, "*shape"]],
) -> list[Shaped[np.ndarray, "*shape"]]:
    """The arrays in the smallest type of a stored volume that holds every value of all of them."""
    if (
        all(array.dtype.name in STORED_DTYPES for array in arrays)
        and len({array.dtype.name for array in arrays}) == 1
    ):
        return list(arrays)
    if any(array.dtype.kind not in "iub" for array in arrays):
        return [array.astype(np.float32) for array in arrays]
    low, high = min(int(a.min()) for a in arrays), max(int(a.max()) for a in arrays)
    for dtype in (np.int16, np.uint16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return [array.astype(dtype) for array in arrays]
    return [array.astype(np.float32) for array in arrays]
