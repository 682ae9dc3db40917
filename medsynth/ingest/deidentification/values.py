"""What form a value must have to survive where the table has no rule for it (PS3.5 6.2)."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.deidentification.options import Option, Profile
from medsynth.ingest.deidentification.words import VOCABULARY, closed_form

TEXT_VRS = frozenset(("LO", "LT", "SH", "ST", "UC", "UT"))
DATE_VRS = frozenset(("DA", "DT", "TM"))
_NUMBER_VRS = frozenset(("AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"))
_BULK = frozenset(
    (
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "LUTData",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "SegmentedRedPaletteColorLookupTableData",
        "SegmentedGreenPaletteColorLookupTableData",
        "SegmentedBluePaletteColorLookupTableData",
        "VectorGridData",
    )
)
_DECIMAL = re.compile(r"(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?")
_INTEGER = re.compile(r"(?:[+-]?\d{1,12})?")
_CODED = re.compile(r"[A-Za-z0-9_ ./+*-]{0,16}")
_LONG_NUMBER = re.compile(r"\d{5}")
_PEOPLE = (
    "PatientName",
    "PatientBirthName",
    "PatientMotherBirthName",
    "OtherPatientNames",
    "ReferringPhysicianName",
    "PhysiciansOfRecord",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
    "ResponsiblePerson",
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientBirthDate",
    "RequestingService",
    "MilitaryRank",
)
_PLACES = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName")
_DEVICES = ("StationName", "DeviceSerialNumber")


def several(value: Any) -> list[Any]:
    """The values of an element, which may be none or one."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def echoes_of(dataset: Dataset, profile: Profile) -> frozenset[str]:
    """Words in capitals that name this file's people, places and devices, less what is retained."""
    names = list(_PEOPLE)
    names += [] if profile.has(Option.INSTITUTION_IDENTITY) else _PLACES
    names += [] if profile.has(Option.DEVICE_IDENTITY) else _DEVICES
    texts = [str(value) for name in names for value in several(dataset.get(name))]
    parts = [part for text in texts for part in re.split(r"[\^\\=,;\s]+", text)]
    return frozenset(word.upper() for word in (*texts, *parts) if len(word) > 2)


def is_echo(text: str, echoes: Iterable[str]) -> bool:
    """Whether a text says one of the words: longer ones anywhere, short ones alone."""
    upper = text.upper()
    words = set(re.split(r"[^A-Z0-9]+", upper))
    return any(word in words or (len(word) > 4 and word in upper) for word in echoes)


def safe_value(element: DataElement, echoes: frozenset[str]) -> Any:
    """The element's value where its form can hold no identifier, else None.

    Raises UnreadableScan for a number that is none: without it the pixels might mean another thing.
    """
    keyword, vr, value = element.keyword, str(element.VR), element.value
    if keyword in _BULK:
        return value
    values = several(value)
    if vr in _NUMBER_VRS:
        if any(isinstance(v, bytes | str) for v in values):
            raise UnreadableScan("bad_element")
        return value
    if vr in ("DS", "IS"):
        texts = [str(getattr(v, "original_string", v)).strip() for v in values]
        if not all((_DECIMAL if vr == "DS" else _INTEGER).fullmatch(text) for text in texts):
            raise UnreadableScan("bad_element")
        return None if any(len(text) > 5 and text in echoes for text in texts) else value
    if vr == "CS":
        return _kept([v if _is_coded(str(v), echoes) else "" for v in values])
    if vr in TEXT_VRS:
        found = [closed_form(keyword, str(v)) for v in values]
        return _kept(["" if is_echo(text, echoes) else text for text in found])
    return None


def _kept(values: Sequence[str]) -> str | list[str] | None:
    if not any(values):
        return None
    return values[0] if len(values) == 1 else list(values)


def _is_coded(text: str, echoes: frozenset[str]) -> bool:
    """Whether a CS value may pass: short, no long number, nobody's name."""
    if not _CODED.fullmatch(text) or _LONG_NUMBER.search(text):
        return False
    return text.upper() in VOCABULARY or not is_echo(text, echoes)
