"""One DICOM file opened: its transfer syntax, its elements, and where its pixels lie.

The first kilobytes are read, more only where the header is longer. Deflated files are inflated
under a cap first, since a few bytes may hold a gigabyte.
Source: DICOM PS3.10, section 7; PS3.5, annex A.
"""

import zlib
from dataclasses import dataclass

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.elements import PIXEL_TAGS, Elements, NeedMore, Walker
from medsynth.ingest.source import InputFile

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
_FIRST_READ = 1 << 14
_LARGEST_HEADER = 1 << 27
_UNDEFINED = 0xFFFFFFFF
_META_END = 0x00030000


@dataclass(frozen=True, slots=True)
class Header:
    """The elements of a file in front of its pixels.

    `pixel_tag` is 0 where there are no pixels; `start` and `length` are of their value, length
    None where they are encapsulated. Offsets of a deflated file are those of the inflated bytes.
    """

    meta: Elements
    elements: Elements
    syntax: str
    pixel_tag: int
    pixel_vr: bytes
    start: int
    length: int | None


def read_header(file: InputFile, max_bytes: int) -> Header:
    """The header of one file; raises UnreadableScan where it does not hold together."""
    size = _FIRST_READ
    while True:
        data = first_bytes(file, size)
        end = max(file.size, len(data)) if len(data) == size else len(data)
        try:
            return _parsed(file, data, end, max_bytes)
        except NeedMore:
            if len(data) >= min(max_bytes, _LARGEST_HEADER):
                raise UnreadableScan("too_large") from None
            size = min(8 * size, max(file.size, size + 1))


def first_bytes(file: InputFile, size: int) -> bytes:
    """Up to `size` bytes from the beginning of a file."""
    with open(file.path, "rb", buffering=0) as handle:
        return handle.read(size)


def _parsed(file: InputFile, data: bytes, end: int, max_bytes: int) -> Header:
    at = 132 if data[128:132] == b"DICM" else 0
    meta, at = _meta(data, at, end)
    syntax = meta.text("TransferSyntaxUID")
    if syntax == DEFLATED:
        data, at = inflated(file, max_bytes, at), 0
        end = len(data)
    order, explicit = _encoding(data, at, syntax)
    places, _ = Walker(data, order, explicit, end).walk(at, end)
    tag = next((tag for tag in PIXEL_TAGS if tag in places), 0)
    if not tag and len(data) < end:
        raise NeedMore
    vr, start, length = places[tag] if tag else (b"", 0, 0)
    elements = Elements(data, places, order, explicit, [])
    known = syntax or _guessed(order, explicit)
    stated = None if length == _UNDEFINED else length
    return Header(meta, elements, known, tag, vr, start, stated)


def _meta(data: bytes, at: int, end: int) -> tuple[Elements, int]:
    """The file meta information, which is always Explicit VR Little Endian; none is no error."""
    walker, places = Walker(data, "<", True, end), {}
    while at + 8 <= end and data[at : at + 2] == b"\2\0":
        tag, vr, start, length = walker.header(at)
        at = start + length
        if at > len(data):
            walker.check_end(at)
        places[tag] = vr, start, length
    return Elements(data, places, "<", True, []), at


def _encoding(data: bytes, at: int, syntax: str) -> tuple[str, bool]:
    """(byte order, whether representations are explicit): what is there counts, not its name."""
    order = "<"
    if syntax == BIG_ENDIAN or (not syntax and data[at : at + 1] == b"\0"):
        order = ">"
    vr = data[at + 4 : at + 6]
    return order, vr.isalpha() and vr.isupper()


def _guessed(order: str, explicit: bool) -> str:
    if order == ">":
        return BIG_ENDIAN
    return EXPLICIT if explicit else IMPLICIT


def inflated(file: InputFile, max_bytes: int, start: int) -> bytes:
    """The data set of a deflated file, which begins at `start` of the file, under a cap.

    It stays in memory while its pixels are read, and twice while it grows: a quarter of
    `max_bytes` is what it may have.
    """
    most = max_bytes // 4
    if file.size > most:
        raise UnreadableScan("too_large")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(first_bytes(file, file.size)[start:], most)
    except zlib.error:
        raise UnreadableScan("decode_failed") from None
    if inflater.unconsumed_tail:
        raise UnreadableScan("inflate_limit")
    if not inflater.eof:
        raise UnreadableScan("truncated")
    return body
