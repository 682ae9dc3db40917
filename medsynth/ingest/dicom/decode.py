"""Pixels of the planes of one volume as numbers: read, masked to the bits stored, rescaled.

All planes lie one after the other in one array that was allocated once. Whole numbers stay whole
where 16 bits hold them. MONOCHROME1 is a matter of display, and a padding value is a value:
values stay as they are.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Shaped

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import STORED_DTYPES
from medsynth.core.threads import in_threads
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.frame import Frame
from medsynth.ingest.dicom.images import container_of, read_images

_EXACT = 1 << 24  # whole numbers up to here are exact in float32
Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Plane:
    """One decoded image: rescaled values (rows, columns) and what must be flagged."""

    frame: Frame
    values: Float[np.ndarray, "rows columns"] | Integer[np.ndarray, "rows columns"]
    flags: tuple[str, ...]


Guard = Callable[[Frame], AbstractContextManager[None]]
"""Given a frame: a context that counts whatever goes wrong inside, and goes on after it."""


def decode_frames(frames: Sequence[Frame], config: IngestConfig, guard: Guard) -> list[Plane]:
    """The planes that can be decoded, in the order given; a file that cannot is left to `guard`."""
    block: Shaped[np.ndarray, "planes rows columns"] = np.empty(
        (len(frames), *frames[0].shape), _container(frames)
    )
    ranges: dict[int, Range] = {}
    flags: dict[int, tuple[str, ...]] = {}
    files = _by_file(frames)
    reads = in_threads(
        lambda own: _read_file([frames[at] for at in own], own, block, config), files
    )
    for places, read in zip(files, reads, strict=True):
        with guard(frames[places[0]]):
            for at, (spread, told) in zip(places, read(), strict=True):
                ranges[at], flags[at] = spread, told
    kept = sorted(ranges)
    if not kept:
        return []
    block = block if len(kept) == len(frames) else block[kept]
    used = [frames[at] for at in kept]
    values, rounded = _rescaled(block, used, [ranges[at] for at in kept])
    return [
        Plane(frame, values[n], (*frame.pixels.flags, *frame.flags, *flags[kept[n]], *rounded))
        for n, frame in enumerate(used)
    ]


def _container(frames: Sequence[Frame]) -> np.dtype[Any]:
    """One type that holds the stored values of all frames."""
    kinds = {container_of(pixels) for pixels in {frame.pixels for frame in frames}}
    if len(kinds) == 1:
        return kinds.pop()
    return np.dtype(np.float64 if any(kind.kind == "f" for kind in kinds) else np.int64)


def _by_file(frames: Sequence[Frame]) -> list[list[int]]:
    """Places of the frames of one file each."""
    places: dict[str, list[int]] = {}
    for at, frame in enumerate(frames):
        places.setdefault(frame.file.name, []).append(at)
    return list(places.values())


def _read_file(
    frames: Sequence[Frame],
    places: Sequence[int],
    block: Shaped[np.ndarray, "planes rows columns"],
    config: IngestConfig,
) -> list[tuple[Range, tuple[str, ...]]]:
    """Fill the planes of one file; all of them are read before any of them counts."""
    is_run = places[-1] - places[0] == len(places) - 1
    own = block[places[0] : places[-1] + 1] if is_run else np.empty_like(block[: len(places)])
    found = []
    for number, flags in enumerate(read_images(frames, own, config)):
        spread = _masked(own[number], frames[number])
        _check_scaled(spread, frames[number])
        found.append((spread, flags))
    if not is_run:
        block[list(places)] = own
    return found


def _check_scaled(spread: Range, frame: Frame) -> None:
    """A plane whose values overflow when they are rescaled must not cost the others theirs."""
    ends = (stored * frame.slope + frame.intercept for stored in spread)
    if not max(map(abs, ends)) <= np.finfo(np.float32).max:
        raise UnreadableScan("nonfinite")


def _masked(plane: Shaped[np.ndarray, "rows columns"], frame: Frame) -> Range:
    """Keep the bits that are stored, sign kept, in place; returns (smallest, largest)."""
    low, high = plane.min(), plane.max()
    pixels = frame.pixels
    if pixels.kind != "integer":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise UnreadableScan("nonfinite")
        return float(low), float(high)
    bits, above = pixels.bits_stored, pixels.bits_allocated - 1 - pixels.high_bit
    smallest = -(1 << bits - 1) if pixels.signed else 0
    shifted = pixels.high_bit != bits - 1
    if shifted or low < smallest or high >= smallest + (1 << bits):
        # In the container's own width, so that the sign bit meets the container's.
        image = plane.astype(container_of(pixels))
        plane[...] = (image << above) >> (pixels.bits_allocated - bits)
        low, high = plane.min(), plane.max()
    return float(low), float(high)


def _rescaled(
    block: Shaped[np.ndarray, "planes rows columns"],
    frames: Sequence[Frame],
    ranges: Sequence[Range],
) -> tuple[Shaped[np.ndarray, "planes rows columns"], tuple[str, ...]]:
    """The values in a type of a stored volume, and a flag where that is not exact."""
    scales = {(frame.slope, frame.intercept) for frame in frames}
    whole = block.dtype.kind in "iu" and all(s == 1 and i.is_integer() for s, i in scales)
    if not whole:
        return _scaled(block, frames)
    shifts = [int(frame.intercept) for frame in frames]
    low = min(int(r[0]) + shift for r, shift in zip(ranges, shifts, strict=True))
    high = max(int(r[1]) + shift for r, shift in zip(ranges, shifts, strict=True))
    for dtype in (np.int16, np.uint16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return _shifted(block, shifts, np.dtype(dtype)), ()
    values, _ = _scaled(block, frames)
    return values, ("precision_reduced",) if max(-low, high) > _EXACT else ()


def _shifted(
    block: Integer[np.ndarray, "planes rows columns"], shifts: Sequence[int], dtype: np.dtype[Any]
) -> Integer[np.ndarray, "planes rows columns"]:
    """Each plane plus its whole intercept; in place where the container has 16 bits."""
    if block.dtype.itemsize != 2:
        block = block.astype(dtype)
    # Sums modulo 2^16 are right in either type, since the result is known to fit.
    values = block.view(np.uint16)
    for plane, shift in zip(values, shifts, strict=True):
        if shift:
            np.add(plane, np.uint16(shift & 0xFFFF), out=plane)
    return values.view(dtype)


def _scaled(
    block: Shaped[np.ndarray, "planes rows columns"], frames: Sequence[Frame]
) -> tuple[Float[np.ndarray, "planes rows columns"], tuple[str, ...]]:
    values, reduced = np.empty(block.shape, np.float32), False
    for target, plane, frame in zip(values, block, frames, strict=True):
        exact = plane.astype(np.float64)
        if (frame.slope, frame.intercept) != (1, 0):
            exact = exact * frame.slope + frame.intercept
        with np.errstate(over="ignore"):
            target[...] = exact
        if not np.isfinite(target).all():
            raise UnreadableScan("nonfinite")
        reduced |= frame.pixels.kind == "double" and not np.array_equal(target, exact)
    return values, ("precision_reduced",) if reduced else ()


def narrowed(
    arrays: Sequence[Shaped[np.ndarray, "*shape"]],
) -> list[Shaped[np.ndarray, "*shape"]]:
    """The arrays in the smallest type of a stored volume that holds every value of all of them."""
    names = {array.dtype.name for array in arrays}
    if len(names) == 1 and names <= set(STORED_DTYPES):
        return list(arrays)
    if any(array.dtype.kind not in "iub" for array in arrays):
        return [array.astype(np.float32) for array in arrays]
    low, high = min(int(a.min()) for a in arrays), max(int(a.max()) for a in arrays)
    for dtype in (np.int16, np.uint16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return [array.astype(dtype) for array in arrays]
    return [array.astype(np.float32) for array in arrays]
