"""Frames of a DICOM file: everything that must be known before any pixel is decoded.

Only the elements named here are looked at; everything else in a file stays in it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.acquisition import acquisition_of, moment_of
from medsynth.ingest.dicom.diffusion import diffusion_of
from medsynth.ingest.dicom.elements import Elements, Source
from medsynth.ingest.dicom.enhanced import frame_sources
from medsynth.ingest.dicom.frame import DETECTOR_MODALITIES, Frame, shared, shared_mapping
from medsynth.ingest.dicom.header import Header, read_header
from medsynth.ingest.dicom.mosaic import is_mosaic, mosaic_tiles
from medsynth.ingest.dicom.pixel_data import pixels_of
from medsynth.ingest.facts.attributes import TAGS
from medsynth.ingest.source import InputFile

__all__ = ["Frame", "read_frames"]

VOLUME_MODALITIES = ("CT", "MR", "PT", "NM")
SERIES_TAGS = ("PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID")
IDENTIFYING = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "StationName",
    "AccessionNumber",
)
_DIRECTORY = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_CAPTURED = {"SCREEN SAVE", "SCREENSAVE", "SECONDARY CAPTURE"}
_FARTHEST = 1e5  # mm from the origin; beyond, a stored affine loses hundredths of a millimeter
_UNIT_LENGTH = 1e-2  # how far a direction cosine's square may be from 1, or a product from 0
_READ = tuple(name for name in TAGS if tag_for_keyword(name))
_ALIASES = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes"}


def read_frames(file: InputFile, config: IngestConfig) -> list[Frame]:
    """The planes of one file; raises UnreadableScan with a reason code where it is no image."""
    header = read_header(file, config.max_bytes)
    _check_is_image(header)
    elements = header.elements
    pixels = pixels_of(header, config.max_bytes)
    _check_names(elements)
    sources = frame_sources(elements, pixels.count)
    if sources is None and pixels.count != 1:
        raise UnreadableScan("multi_frame")
    first = Frame(
        file=file,
        modality=shared(elements.text("Modality")),
        series=shared_mapping(*((tag, elements.text(tag)) for tag in SERIES_TAGS)),
        instance=elements.text("SOPInstanceUID"),
        tags={},
        shape=pixels.shape,
        spacing=None,
        position=None,
        orientation=None,
        thickness=None,
        volume_key=(),
        is_localizer=False,
        number=shared(elements.text("SeriesNumber")),
        description=shared(elements.text("SeriesDescription")),
        identifying=shared(_identifying(elements)),
        pixels=shared(pixels),
        start=header.start,
        length=header.length,
    )
    each: Sequence[Source] = [elements] if sources is None else sources
    frames = [
        _described(replace(first, index=number, image=number), source, elements)
        for number, source in enumerate(each)
    ]
    return mosaic_tiles(frames[0], elements) if is_mosaic(elements) else frames


def _check_is_image(header: Header) -> None:
    elements = header.elements
    if header.meta.text("MediaStorageSOPClassUID") == _DIRECTORY:
        raise UnreadableScan("not_an_image")
    if not (_count(elements, "Rows") and _count(elements, "Columns") and header.pixel_tag):
        raise UnreadableScan("not_an_image" if len(elements) else "not_dicom")
    kind, words = elements.text("SOPClassUID"), set(words_of(elements, "ImageType"))
    if kind == _SECONDARY_CAPTURE or kind.startswith(f"{_SECONDARY_CAPTURE}.") or words & _CAPTURED:
        raise UnreadableScan("secondary_capture")
    monochrome = elements.text("PhotometricInterpretation").startswith("MONOCHROME")
    if (_count(elements, "SamplesPerPixel") or 1) != 1 or not monochrome:
        raise UnreadableScan("color")
    if elements.text("BurnedInAnnotation").upper() == "YES":
        raise UnreadableScan("burned_in_text")
    if elements.text("Modality") not in VOLUME_MODALITIES + DETECTOR_MODALITIES:
        raise UnreadableScan("unsupported_modality")


def _check_names(elements: Elements) -> None:
    if not elements.text("SOPInstanceUID") or not elements.text("SeriesInstanceUID"):
        raise UnreadableScan("bad_element")
    if not elements.text("PatientID"):
        raise UnreadableScan("no_subject")


def _described(frame: Frame, source: Source, elements: Elements) -> Frame:
    """The frame with all that its own elements say of it."""
    spacing = _numbers(source, "PixelSpacing", 2)
    if spacing is None and frame.modality in DETECTOR_MODALITIES:
        spacing = _numbers(source, "ImagerPixelSpacing", 2)
    step = _numbers(source, "SpacingBetweenSlices", 1) or _numbers(source, "SliceThickness", 1)
    slope, intercept = _rescale(source)
    orientation = _numbers(source, "ImageOrientationPatient", 6)
    diffusion = diffusion_of(source, elements, orientation)
    words = words_of(source, "FrameType") or words_of(source, "ImageType")
    described = replace(
        frame,
        tags=_tags(source, elements),
        spacing=shared((spacing[0], spacing[1])) if spacing and min(spacing) > 0 else None,
        position=_numbers(source, "ImagePositionPatient", 3),
        orientation=shared(orientation),
        thickness=abs(step[0]) if step and step[0] else None,
        volume_key=shared((*_volume_key(source, words), *diffusion.key)),
        is_localizer="LOCALIZER" in words,
        slope=slope,
        intercept=intercept,
        order=moment_of(source),
        flags=shared(diffusion.flags),
        acquisition=acquisition_of(source, elements, diffusion),
    )
    if not described.is_detector_plane:
        _check_geometry(described)
    return described


def _volume_key(source: Source, words: Sequence[str]) -> tuple[str, ...]:
    """What two planes of one volume must share, beside place, size and diffusion encoding."""
    echo = source.text("EchoTime") or source.text("EffectiveEchoTime")
    time = source.text("TemporalPositionIdentifier") or source.text("TemporalPositionIndex")
    kind = source.text("ComplexImageComponent")
    rest = (source.text("EchoNumbers"), source.text("StackID"))
    return ("/".join(words), kind, echo, time, *rest)


def _check_geometry(frame: Frame) -> None:
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        raise UnreadableScan("no_geometry")
    if max(map(abs, frame.position)) > _FARTHEST:
        raise UnreadableScan("no_geometry")
    a, b, c, d, e, f = frame.orientation
    products = (a * a + b * b + c * c - 1, d * d + e * e + f * f - 1, a * d + b * e + c * f)
    if max(map(abs, products)) > _UNIT_LENGTH:
        raise UnreadableScan("no_geometry")


def _rescale(source: Source) -> tuple[float, float]:
    """(slope, intercept) of the standard rescale; 1 and 0 where there is none."""
    slope, intercept = source.numbers("RescaleSlope"), source.numbers("RescaleIntercept")
    if max(len(slope), len(intercept)) > 1 or not np.isfinite(slope + intercept).all():
        raise UnreadableScan("bad_element")
    if 0.0 in slope:
        raise UnreadableScan("bad_element")
    return next(iter(slope), 1.0), next(iter(intercept), 0.0)


def _tags(source: Source, elements: Elements) -> dict[str, Any]:
    tags = {name: _tag_text(source, name) for name in _READ}
    if not tags["PatientAge"]:
        tags["PatientAge"] = _age_by_dates(elements)
    return shared_mapping(*((name, text) for name, text in tags.items() if text))


def _tag_text(source: Source, name: str) -> str:
    """A listed tag's text; a sequence's is the value of its first code."""
    if name.endswith("Sequence"):
        return next((item.text("CodeValue") for item in source.items(name)), "")
    return source.text(name) or (source.text(_ALIASES[name]) if name in _ALIASES else "")


def _identifying(elements: Elements) -> frozenset[str]:
    """What no attribute's value may hold, whole and in parts, in small letters."""
    texts = [elements.text(name).lower() for name in IDENTIFYING]
    parts = [part for text in texts for part in re.split(r"[\^\\=]+", text)]
    return frozenset(text for text in (*texts, *parts) if len(text) > 2)


def _age_by_dates(elements: Elements) -> str:
    """Whole years from birth to study, both written YYYYMMDD; empty where either is missing."""
    birth, study = elements.text("PatientBirthDate"), elements.text("StudyDate")
    if not (len(birth) == len(study) == 8 and birth.isdigit() and study.isdigit()):
        return ""
    years = int(study[:4]) - int(birth[:4]) - (study[4:] < birth[4:])
    return f"{years:03d}Y" if 0 <= years < 150 else ""


def words_of(source: Source, name: str) -> list[str]:
    """The words of a coded element, in capitals."""
    text = source.text(name).upper()
    return [word.strip() for word in text.split("\\")] if text else []


def _count(elements: Elements, name: str) -> int:
    numbers = elements.numbers(name)
    return int(numbers[0]) if numbers else 0


def _numbers(source: Source, name: str, count: int) -> tuple[float, ...] | None:
    numbers = source.numbers(name)
    if len(numbers) != count or not np.isfinite(numbers).all():
        return None
    return numbers
