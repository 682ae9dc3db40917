"""How a file's pixels are stored, by its header; what cannot be a voxel is refused.

Source: DICOM PS3.3, C.7.6.3 (Image Pixel), C.7.6.24 and C.7.6.25 (Floating Point, Double).
"""

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.elements import PIXEL_TAGS, Elements
from medsynth.ingest.dicom.frame import Pixels
from medsynth.ingest.dicom.header import BIG_ENDIAN, Header

LOSSY_SYNTAXES = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
)
"""Syntaxes that may lose something; .91 and .203 may also be lossless, which is not provable."""
_FLOAT_BITS = {"float": 32, "double": 64}
_INTEGER_BITS = (8, 16, 32)
_MOST_IMAGES = 1 << 17  # of one file


def pixels_of(header: Header, max_bytes: int) -> Pixels:
    """The stored form of a file's pixels; raises UnreadableScan where it holds too much."""
    elements, kind = header.elements, PIXEL_TAGS[header.pixel_tag]
    if "ModalityLUTSequence" in elements:
        raise UnreadableScan("unsupported_pixels")
    rows, columns = _integer(elements, "Rows", 0), _integer(elements, "Columns", 0)
    count = _integer(elements, "NumberOfFrames", 1) or 1
    allocated = _FLOAT_BITS.get(kind) or _integer(elements, "BitsAllocated", 16)
    stored = allocated if kind in _FLOAT_BITS else _integer(elements, "BitsStored", allocated)
    if count < 1:
        raise UnreadableScan("bad_element")
    if count > _MOST_IMAGES or rows * columns * count * max(allocated // 8, 1) > max_bytes:
        raise UnreadableScan("too_large")
    high = _integer(elements, "HighBit", stored - 1)
    high = stored - 1 if kind in _FLOAT_BITS else high
    if kind == "integer" and allocated not in _INTEGER_BITS:
        raise UnreadableScan("unsupported_pixels")
    if not 0 < stored <= high + 1 <= allocated:
        raise UnreadableScan("bad_element")
    return Pixels(
        syntax=header.syntax,
        kind=kind,
        shape=(rows, columns),
        count=count,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high,
        signed=bool(_integer(elements, "PixelRepresentation", 0)),
        swapped=header.syntax == BIG_ENDIAN and header.pixel_vr != b"OB",
        flags=_flags(elements, header.syntax),
    )


def _integer(elements: Elements, name: str, otherwise: int) -> int:
    numbers = elements.numbers(name)
    return int(numbers[0]) if numbers else otherwise


def _flags(elements: Elements, syntax: str) -> tuple[str, ...]:
    inverted = elements.text("PhotometricInterpretation") == "MONOCHROME1"
    lossy = syntax in LOSSY_SYNTAXES or elements.text("LossyImageCompression") == "01"
    return ("monochrome1",) * inverted + ("lossy",) * lossy
