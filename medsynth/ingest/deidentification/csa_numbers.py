"""Siemens' CSA header rebuilt from its geometry and diffusion numbers, nothing else of it.

Without the number of tiles and the slice normal a mosaic cannot be put in order, and with the
whole header a patient's name, comments and protocol would travel.
"""

import re
import struct

from medsynth.ingest.dicom.csa import csa_values

CREATOR, ELEMENT = "SIEMENS CSA HEADER", 0x10
_NAMES = (
    "NumberOfImagesInMosaic",
    "SliceNormalVector",
    "SpacingBetweenSlices",
    "B_value",
    "B_matrix",
    "DiffusionGradientDirection",
    "BandwidthPerPixelPhaseEncode",
    "PhaseEncodingDirectionPositive",
    "MosaicRefAcqTimes",
)
_NUMBER = re.compile(r"[+-]?\d{1,7}(?:\.\d{0,12})?(?:[eE][+-]?\d{1,2})?")
_CHECK = 77  # what every CSA2 header has in this place


def numbers_alone(header: bytes) -> bytes:
    """A CSA2 header of the listed entries whose every value is a number; empty if none is."""
    values = csa_values(header)
    kept = {name: values[name] for name in _NAMES if values.get(name)}
    kept = {name: texts for name, texts in kept.items() if all(map(_NUMBER.fullmatch, texts))}
    if not kept:
        return b""
    entries = b"".join(_entry(name, texts) for name, texts in kept.items())
    made = b"SV10\4\3\2\1" + struct.pack("<2i", len(kept), _CHECK) + entries
    return made + bytes(len(made) % 2)


def _entry(name: str, texts: tuple[str, ...]) -> bytes:
    head = struct.pack("<64si4s3i", name.encode(), len(texts), b"FD", 4, len(texts), _CHECK)
    return head + b"".join(_item(text.encode() + b"\0") for text in texts)


def _item(text: bytes) -> bytes:
    size = len(text)
    return struct.pack("<4i", size, size, _CHECK, size) + text + bytes(-size % 4)
