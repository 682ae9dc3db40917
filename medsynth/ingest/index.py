"""Headers of DICOM files: what must be known before any pixel is decoded.

Only the tags listed here are looked at; everything else in a file stays in it. Deflated files
are inflated under a cap first, since a few bytes may hold a gigabyte.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.attributes import TAGS
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.source import InputFile

VOLUME_MODALITIES = ("CT", "MR", "PT", "NM")
DETECTOR_MODALITIES = ("CR", "DX", "MG")
JOIN_TAGS = (
    "PatientID",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_VOLUME_KEYS = (
    "EchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
)
_GEOMETRY = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
)
_KIND = (
    "SOPClassUID",
    "Modality",
    "ImageType",
    "PhotometricInterpretation",
    "BurnedInAnnotation",
    "SeriesDescription",
    "StudyDate",
    "PatientBirthDate",
)
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
_READ = list(dict.fromkeys((*JOIN_TAGS, *_VOLUME_KEYS, *_GEOMETRY, *_KIND, *TAGS, *IDENTIFYING)))


@dataclass(frozen=True)
class Frame:
    """What ingest needs of one plane of a DICOM file; mm, coordinates in DICOM's LPS.

    `index` counts the planes of one file from 0: frames of a multi-frame image, tiles of a mosaic.
    """

    file: InputFile
    modality: str
    keys: Mapping[str, str]
    tags: Mapping[str, str]
    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    thickness: float | None
    volume_key: tuple[str, ...]
    is_localizer: bool
    description: str
    identifying: frozenset[str]
    index: int = 0

    @property
    def is_detector_plane(self) -> bool:
        """Whether this is a projection image, which lies on a detector and not in the patient."""
        return self.modality in DETECTOR_MODALITIES and self.position is None


def open_dicom(file: InputFile, max_bytes: int) -> Any:
    """What `dcmread` should read: the path, or the inflated bytes of a deflated file."""
    with file.path.open("rb") as handle:
        head = handle.read(2048)
    return _inflate(file, max_bytes) if _DEFLATED in head else file.path


def _inflate(file: InputFile, max_bytes: int) -> BytesIO:
    if file.size > max_bytes:
        raise UnreadableScan("too_large")
    meta = read_file_meta_info(file.path)
    start = 132 + 12 + int(meta.FileMetaInformationGroupLength)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(file.path.read_bytes()[start:], max_bytes)
    if inflater.unconsumed_tail:
        raise UnreadableScan("inflate_limit")
    if not inflater.eof:
        raise UnreadableScan("truncated")
    plain = FileMetaDataset()
    plain.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = DicomBytesIO()
    write_file_meta_info(stream, plain, enforce_standard=False)
    return BytesIO(b"\0" * 128 + b"DICM" + stream.getvalue() + body)


def read_frames(file: InputFile, config: IngestConfig) -> list[Frame]:
    """The planes of one file; raises UnreadableScan with a reason code where it is no image."""
    source = open_dicom(file, config.max_bytes)
    dataset = dcmread(source, stop_before_pixels=True, force=True, specific_tags=list(_READ))
    _check_is_image(dataset)
    _check_size(dataset, config.max_bytes)
    if not _text(dataset, "PatientID"):
        raise UnreadableScan("no_subject")
    frame = _frame(file, dataset)
    if not frame.is_detector_plane:
        _check_geometry(frame)
    return [frame]


def _check_is_image(dataset: Dataset) -> None:
    meta = getattr(dataset, "file_meta", None)
    if getattr(meta, "MediaStorageSOPClassUID", "") == MediaStorageDirectoryStorage:
        raise UnreadableScan("not_an_image")
    if not (dataset.get("Rows") and dataset.get("Columns")):
        raise UnreadableScan("not_an_image" if len(dataset) else "not_dicom")
    if str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        raise UnreadableScan("secondary_capture")
    monochrome = str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or not monochrome:
        raise UnreadableScan("color")
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        raise UnreadableScan("burned_in_text")
    if "MOSAIC" in _words(dataset, "ImageType"):
        raise UnreadableScan("mosaic")
    if _text(dataset, "Modality") not in VOLUME_MODALITIES + DETECTOR_MODALITIES:
        raise UnreadableScan("unsupported_modality")


def _check_size(dataset: Dataset, max_bytes: int) -> None:
    frames = int(dataset.get("NumberOfFrames") or 1)
    bits = int(dataset.get("BitsAllocated") or 16)
    if int(dataset.Rows) * int(dataset.Columns) * frames * max(bits // 8, 1) > max_bytes:
        raise UnreadableScan("too_large")
    if frames != 1:
        raise UnreadableScan("multi_frame")
    if not _text(dataset, "SOPInstanceUID") or not _text(dataset, "SeriesInstanceUID"):
        raise UnreadableScan("bad_element")


def _frame(file: InputFile, dataset: Dataset) -> Frame:
    spacing = _numbers(dataset, "PixelSpacing", 2)
    if spacing is None and _text(dataset, "Modality") in DETECTOR_MODALITIES:
        spacing = _numbers(dataset, "ImagerPixelSpacing", 2)
    step = _numbers(dataset, "SpacingBetweenSlices", 1) or _numbers(dataset, "SliceThickness", 1)
    return Frame(
        file=file,
        modality=_text(dataset, "Modality"),
        keys={tag: _text(dataset, tag) for tag in JOIN_TAGS},
        tags=_tags(dataset),
        shape=(int(dataset.Rows), int(dataset.Columns)),
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        thickness=abs(step[0]) if step and step[0] else None,
        volume_key=tuple(_text(dataset, name) for name in _VOLUME_KEYS),
        is_localizer="LOCALIZER" in _words(dataset, "ImageType"),
        description=_text(dataset, "SeriesDescription"),
        identifying=_identifying(dataset),
    )


def _check_geometry(frame: Frame) -> None:
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        raise UnreadableScan("no_geometry")
    axes = np.array(frame.orientation).reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-2):
        raise UnreadableScan("no_geometry")


def _tags(dataset: Dataset) -> dict[str, str]:
    tags = {name: _text(dataset, name) for name in TAGS}
    if not tags["PatientAge"]:
        tags["PatientAge"] = _age_by_dates(_text(dataset, "PatientBirthDate"), dataset)
    return {name: text for name, text in tags.items() if text}


def _identifying(dataset: Dataset) -> frozenset[str]:
    """What no attribute's value may hold, whole and in parts, in small letters."""
    texts = [_text(dataset, name).lower() for name in IDENTIFYING]
    parts = [part for text in texts for part in re.split(r"[\^\\=]+", text)]
    return frozenset(text for text in (*texts, *parts) if len(text) > 2)


def _age_by_dates(birth: str, dataset: Dataset) -> str:
    """Whole years from birth to study, both written YYYYMMDD; empty where either is missing."""
    study = _text(dataset, "StudyDate")
    if not (len(birth) == len(study) == 8 and birth.isdigit() and study.isdigit()):
        return ""
    years = int(study[:4]) - int(birth[:4]) - (study[4:] < birth[4:])
    return f"{years:03d}Y" if 0 <= years < 150 else ""


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip().strip("\0").strip()


def _words(dataset: Dataset, name: str) -> list[str]:
    value = dataset.get(name) or []
    return [str(word).upper() for word in ([value] if isinstance(value, str) else value)]


def _numbers(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    value: Any = dataset.get(name)
    if value is None or value == "":
        return None
    numbers = tuple(float(x) for x in np.atleast_1d(value))
    if len(numbers) != count or not np.isfinite(numbers).all():
        return None
    return numbers
