"""Frame: what ingest knows of one plane of a DICOM file before its pixels are read.

Tens of thousands of frames are in memory at once, so what the planes of a series share (keys,
tags, physics, how pixels are stored) is held once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from medsynth.ingest.source import InputFile

DETECTOR_MODALITIES = ("CR", "DX", "MG")
INSTANCE_KEY = "instance:"
"""Begins the last volume key of an image that is a volume by itself."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """How the images of one file are stored; `shape` is a stored image's, of `count` images.

    `kind` is integer, float or double. Bits count from the lowest; `signed` is two's complement,
    `swapped` says that words are big endian.
    """

    syntax: str
    kind: str
    shape: tuple[int, int]
    count: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    swapped: bool
    flags: tuple[str, ...]

    @property
    def image_bytes(self) -> int:
        """Bytes of one stored image."""
        return self.shape[0] * self.shape[1] * self.bits_allocated // 8


@dataclass(frozen=True, slots=True)
class Frame:
    """What ingest needs of one plane of a DICOM file; mm, coordinates in DICOM's LPS.

    `index` counts the planes of one file from 0: frames of a multi-frame image, tiles of a mosaic.
    `image` is the stored image that the plane lies in, `corner` its first row and column there;
    `start` is where the file's pixel data begin, `length` their bytes (None: encapsulated).
    `volume_key` tells the volumes of a series apart, `order` holds what may tell them apart where
    that does not suffice (see `grouping`). `number` is the series', which parts two series that
    share a UID against the rules.
    """

    file: InputFile
    modality: str
    series: Mapping[str, str]
    instance: str
    tags: Mapping[str, str]
    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    thickness: float | None
    volume_key: tuple[str, ...]
    is_localizer: bool
    number: str
    description: str
    identifying: frozenset[str]
    pixels: Pixels
    start: int
    length: int | None
    slope: float = 1.0
    intercept: float = 0.0
    index: int = 0
    image: int = 0
    corner: tuple[int, int] = (0, 0)
    order: tuple[tuple[float, ...], ...] = ()
    flags: tuple[str, ...] = ()
    acquisition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, str]:
        """The identifiers by which a plane is grouped and joined, by DICOM keyword."""
        return {**self.series, "SOPInstanceUID": self.instance}

    @property
    def is_detector_plane(self) -> bool:
        """Whether this is a projection image, which lies on a detector and not in the patient."""
        return self.modality in DETECTOR_MODALITIES and self.position is None


@lru_cache(maxsize=1 << 12)
def shared(value: Any) -> Any:
    """The first of equal values, so that equal ones are held once."""
    return value


@lru_cache(maxsize=1 << 12)
def shared_mapping(*items: tuple[str, Any]) -> dict[str, Any]:
    """One mapping for all that hold the same items; it must not be changed."""
    return dict(items)
