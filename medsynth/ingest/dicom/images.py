"""The stored images of one file, one after the other, as integers or floats of the container.

Native pixels are read from where the header found them, straight into their place; compressed
ones are decoded in the sandbox.
"""

from collections.abc import Iterator, Sequence
from io import BufferedIOBase, BytesIO, RawIOBase
from typing import Any

import numpy as np
from jaxtyping import Shaped
from pydicom.encaps import generate_frames

from medsynth.core.errors import UnreadableScan
from medsynth.core.threads import in_threads
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.codec import JPEG_LS, SYNTAXES, decode_fragment, is_near_lossless
from medsynth.ingest.dicom.frame import Frame, Pixels
from medsynth.ingest.dicom.header import DEFLATED, NATIVE, read_header
from medsynth.ingest.sandbox import guarded

Readable = RawIOBase | BufferedIOBase
_OFFSETS, _LENGTHS = 0x7FE00001, 0x7FE00002


def container_of(pixels: Pixels) -> np.dtype[Any]:
    """The number type of stored values, in this machine's byte order."""
    kind = ("i" if pixels.signed else "u") if pixels.kind == "integer" else "f"
    return np.dtype(f"{kind}{pixels.bits_allocated // 8}")


def read_images(
    frames: Sequence[Frame], into: Shaped[np.ndarray, "planes rows columns"], config: IngestConfig
) -> Iterator[tuple[str, ...]]:
    """Fill one plane for each frame of one file; yields what must be flagged of it."""
    pixels = frames[0].pixels
    if pixels.image_bytes > config.max_plane_bytes:
        raise UnreadableScan("too_large")
    if pixels.syntax in SYNTAXES:
        yield from _compressed(frames, into, config)
    elif pixels.syntax in NATIVE:
        if pixels.syntax == DEFLATED:
            header = read_header(frames[0].file, config.max_bytes)
            data = header.elements.data
            yield from _native(BytesIO(data), len(data), frames, into)
        else:
            with open(frames[0].file.path, "rb", buffering=0) as file:
                yield from _native(file, frames[0].file.size, frames, into)
    else:
        raise UnreadableScan("unsupported_transfer_syntax")


def _native(
    handle: Readable,
    size: int,
    frames: Sequence[Frame],
    into: Shaped[np.ndarray, "planes rows columns"],
) -> Iterator[tuple[str, ...]]:
    pixels, container = frames[0].pixels, container_of(frames[0].pixels)
    if frames[0].length is None:
        raise UnreadableScan("decode_failed")
    needed = pixels.image_bytes * pixels.count
    if frames[0].length < needed or frames[0].start + frames[0].length > size:
        raise UnreadableScan("truncated")
    held, whole = -1, np.empty(pixels.shape, container)
    for plane, frame in zip(into, frames, strict=True):
        is_direct = frame.shape == pixels.shape and plane.dtype == container
        if is_direct or frame.image != held:
            target = plane if is_direct else whole
            _read_into(handle, frame.start + frame.image * pixels.image_bytes, target)
            _swap(target, pixels)
            held = -1 if is_direct else frame.image
        if not is_direct:
            plane[...] = _part(whole, frame)
        yield ()


def _read_into(handle: Readable, at: int, target: Shaped[np.ndarray, "rows columns"]) -> None:
    handle.seek(at)
    view = target.data.cast("B")
    while view:
        count = handle.readinto(view)
        if not count:
            raise UnreadableScan("truncated")
        view = view[count:]


def _swap(target: Shaped[np.ndarray, "rows columns"], pixels: Pixels) -> None:
    """From big endian; bytes lie swapped in words of 16 bits there, too."""
    if not pixels.swapped:
        return
    if target.itemsize > 1:
        target.byteswap(inplace=True)
    elif target.size % 2 == 0:
        target.reshape(-1).view(np.uint16).byteswap(inplace=True)
    else:
        raise UnreadableScan("unsupported_pixels")


def _part(
    whole: Shaped[np.ndarray, "height width"], frame: Frame
) -> Shaped[np.ndarray, "rows columns"]:
    row, column = frame.corner
    return whole[row : row + frame.shape[0], column : column + frame.shape[1]]


def _compressed(
    frames: Sequence[Frame], into: Shaped[np.ndarray, "planes rows columns"], config: IngestConfig
) -> Iterator[tuple[str, ...]]:
    wanted = {frame.image for frame in frames}
    images = [(n, data) for n, data in enumerate(_fragments(frames[0], config)) if n in wanted]
    decoded = in_threads(lambda image: _decoded(image[1], frames[0].pixels, config), images)
    found = {number: read() for (number, _), read in zip(images, decoded, strict=True)}
    for plane, frame in zip(into, frames, strict=True):
        if frame.image not in found:
            raise UnreadableScan("truncated")
        values, flags = found[frame.image]
        plane[...] = _part(values, frame)
        yield flags


def _decoded(
    data: bytes, pixels: Pixels, config: IngestConfig
) -> tuple[Shaped[np.ndarray, "height width"], tuple[str, ...]]:
    """One image in the sandbox, and what must be flagged of it."""
    lossy = pixels.syntax in JPEG_LS and is_near_lossless(data)
    asked = pixels.shape, pixels.bits_allocated, pixels.bits_stored, pixels.signed
    values = guarded(decode_fragment, pixels.syntax, data, *asked, limits=config.limits)
    return values.view(container_of(pixels)), ("lossy",) if lossy else ()


def _fragments(frame: Frame, config: IngestConfig) -> Iterator[bytes]:
    """The compressed images of a file, each in one piece, by whatever table of offsets it has."""
    if frame.length is not None or frame.file.size > config.max_bytes:
        raise UnreadableScan("decode_failed" if frame.length is not None else "too_large")
    elements = read_header(frame.file, config.max_bytes).elements
    table = elements.raw(_OFFSETS), elements.raw(_LENGTHS)
    with frame.file.path.open("rb") as handle:
        handle.seek(frame.start)
        data = handle.read()
    return generate_frames(
        data, number_of_frames=frame.pixels.count, extended_offsets=table if all(table) else None
    )
