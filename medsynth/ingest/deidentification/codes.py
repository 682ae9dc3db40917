"""Coded concepts: a code survives if its dictionary knows it, and its meaning is the dictionary's.

A local code ("CTPECHEST" of a hospital's own scheme) is free text in another place.
"""

from functools import cache
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

UNKNOWN = ("261665006", "SCT", "Unknown")
_OLD_SCHEMES = ("SRT", "SNM3", "99SDM")
CODE_KEYWORDS = (
    "CodeValue",
    "LongCodeValue",
    "URNCodeValue",
    "CodingSchemeDesignator",
    "CodingSchemeVersion",
    "CodeMeaning",
    "MappingResource",
    "MappingResourceUID",
    "MappingResourceName",
    "ContextGroupVersion",
    "ContextGroupLocalVersion",
    "ContextGroupExtensionFlag",
    "ContextGroupExtensionCreatorUID",
    "ContextIdentifier",
    "ContextUID",
    "EquivalentCodeSequence",
)
"""The code sequence macro (PS3.3 Table 8.8-1): replaced as a whole."""


@cache
def _meanings(scheme: str) -> dict[str, list[str]]:
    """What a scheme's dictionary calls each of its codes."""
    known: Any = concepts
    found: dict[str, list[str]] = {}
    for terms in known.get(scheme, {}).values():
        for code, (meaning, _) in terms.items():
            found.setdefault(code, []).append(meaning)
    return found


def known_code(item: Dataset) -> tuple[str, str, str] | None:
    """(value, scheme, meaning) of a code that its scheme's dictionary holds (PS3.16)."""
    value, scheme = str(item.get("CodeValue") or ""), str(item.get("CodingSchemeDesignator") or "")
    if scheme in _OLD_SCHEMES:
        modern = mapping["SRT"].get(value, "")
        meanings = _meanings("SCT").get(modern, [value] if modern else [])
        scheme = "SRT"
    else:
        meanings = _meanings(scheme).get(value, [])
    if not meanings:
        return None
    said = str(item.get("CodeMeaning") or "").strip()
    is_listed = said.lower() in (meaning.lower() for meaning in meanings)
    return value, scheme, said if is_listed else meanings[0]


def write_code(item: Dataset, code: tuple[str, str, str]) -> None:
    """Put a code into an item."""
    item.CodeValue, item.CodingSchemeDesignator = code[0], code[1]
    item.CodeMeaning = code[2][:64]
