"""NIfTI files as RAS+ volumes, one in memory at a time; none of their text comes along.

The bytes that a header asks for are compared with those that are there before any memory is set
aside. Header extensions and text fields (`descrip`, `db_name`, ...) are passed over unread.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Geometry, Volume
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.decode import narrowed
from medsynth.ingest.files.inflate import MOST_EXPANSION, Bytes, open_bytes
from medsynth.ingest.files.nifti_header import NiftiHeader, header_size, parse_header
from medsynth.ingest.source import InputFile

_MOST_TRAILING = 1 << 16  # bytes behind the last voxel; more of them mean that the header is wrong
_EXACT = 1 << 24  # integers beyond it are rounded by float32


@dataclass(frozen=True, eq=False)
class NiftiVolume:
    """One volume of a file: `index` counts the file's volumes from 0."""

    volume: Volume
    flags: tuple[str, ...]
    index: int
    num_nonfinite: int = 0


def read_header(file: InputFile, config: IngestConfig) -> NiftiHeader:
    """The header of a file that is long enough for what it says; raises UnreadableScan."""
    with open_bytes(file.path) as stream:
        start = stream.read(4)
        header = parse_header(start + stream.read(header_size(start) - 4), config.nifti)
        needed = header.offset + header.volume_bytes * header.num_volumes
        voxels = header.volume_bytes // header.dtype.itemsize
        if voxels * max(header.dtype.itemsize, 4) > config.max_volume_bytes:
            raise UnreadableScan("too_large")
        if file.size * (MOST_EXPANSION if stream.is_gzip else 1) < needed:
            raise UnreadableScan("truncated")
    return header


def wanted_volumes(header: NiftiHeader, config: IngestConfig) -> range:
    """Which volumes of a file are read; raises UnreadableScan where no rule says it."""
    count, rule = header.num_volumes, config.nifti.volumes
    if count == 1 or rule == "split":
        return range(count)
    if rule == "refuse":
        raise UnreadableScan("multi_volume")
    chosen = 0 if rule == "first" else rule
    if chosen >= count:
        raise UnreadableScan("no_such_volume")
    return range(chosen, chosen + 1)


def read_volumes(
    file: InputFile, header: NiftiHeader, config: IngestConfig
) -> Iterator[NiftiVolume]:
    """The wanted volumes in order; a file that breaks further on gives none of them."""
    wanted = wanted_volumes(header, config)
    if len(wanted) > 1:
        with open_bytes(file.path) as stream:
            stream.skip(header.offset + header.volume_bytes * header.num_volumes)
            _check_end(stream)
    with open_bytes(file.path) as stream:
        stream.skip(header.offset + header.volume_bytes * wanted.start)
        for index in wanted:
            stored = _stored(stream, header)
            flags = header.flags + (("volume_chosen",) if len(wanted) < header.num_volumes else ())
            if len(wanted) == 1:
                stream.skip(header.volume_bytes * (header.num_volumes - index - 1))
                flags += _check_end(stream)
            yield _volume(stored, header, config, flags, index)


def _stored(stream: Bytes, header: NiftiHeader) -> Shaped[np.ndarray, "i j k"]:
    """One volume's numbers as stored, first axis fastest."""
    stored = np.empty(header.sides, header.dtype, order="F")
    stream.read_into(stored.reshape(-1, order="F").view(np.uint8).data)
    return stored


def _check_end(stream: Bytes) -> tuple[str, ...]:
    """Reads on to the file's checksum; a little padding is flagged, more of it refused."""
    count = stream.num_left(_MOST_TRAILING)
    if count > _MOST_TRAILING:
        raise UnreadableScan("trailing_data")
    return ("trailing_data",) if count or stream.has_garbage else ()


def _volume(
    stored: Shaped[np.ndarray, "i j k"],
    header: NiftiHeader,
    config: IngestConfig,
    flags: tuple[str, ...],
    index: int,
) -> NiftiVolume:
    values = _scaled(stored.astype(stored.dtype.newbyteorder("="), copy=False), header)
    values, count = _finite(values, config.nifti.max_nonfinite)
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2 and _is_rounded(values):
        flags += ("precision_reduced",)
    (voxels,) = narrowed([values])
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise UnreadableScan("bad_element")
    flags += ("nonfinite_replaced",) if count else ()
    return NiftiVolume(_in_ras(voxels, header), flags, index, count)


def _in_ras(voxels: Shaped[np.ndarray, "i j k"], header: NiftiHeader) -> Volume:
    """The voxels seen along RAS+ axes; they stay where they are in memory, as the file had them."""
    orientation = io_orientation(header.affine)
    array = apply_orientation(voxels, orientation)[None]
    i, j, k = array.shape[1:]
    affine = header.affine @ inv_ornt_aff(orientation, header.sides)
    return Volume(array, Geometry((i, j, k), affine))


def _scaled(
    stored: Shaped[np.ndarray, "i j k"], header: NiftiHeader
) -> Shaped[np.ndarray, "i j k"]:
    """stored * slope + intercept, plane by plane; whole steps of an integer stay integers."""
    slope, intercept = header.slope, header.intercept
    if (slope, intercept) == (1, 0):
        return stored
    if slope == 1 and intercept.is_integer() and stored.dtype.kind in "iu":
        return stored.astype(np.int64) + int(intercept)
    values = np.empty(stored.shape, np.float32, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(stored.shape[2]):
            values[..., k] = stored[..., k] * np.float64(slope) + intercept
    return values


def _finite(
    values: Shaped[np.ndarray, "i j k"], most: float
) -> tuple[Shaped[np.ndarray, "i j k"], int]:
    """(values, how many were NaN or infinite): these become the smallest finite value."""
    if values.dtype.kind != "f" or (is_finite := np.isfinite(values)).all():
        return values, 0
    count = int(values.size - is_finite.sum())
    if count > most * values.size or count == values.size:
        raise UnreadableScan("nonfinite")
    return np.where(is_finite, values, values[is_finite].min()), count


def _is_rounded(values: Shaped[np.ndarray, "i j k"]) -> bool:
    return max(abs(int(values.min())), abs(int(values.max()))) > _EXACT
