"""Names and sidecars of BIDS: what a file's name says, and which sidecar values may be known.

Source: BIDS 1.11.2, "Common principles": entities, suffixes, the inheritance principle; the units
of sidecars are seconds, DICOM's are milliseconds.
"""

import fnmatch
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

_ENTITY = re.compile(r"([a-z]+)-([A-Za-z0-9+]+)")
_SUFFIX = re.compile(r"[A-Za-z0-9]+")
_MOST_BYTES = 1 << 22  # of one sidecar
_LONGEST = 64  # characters of one word
_SECONDS = 1000.0  # ms
SIDECAR_KEYS: Mapping[str, tuple[str, float]] = {
    "Manufacturer": ("Manufacturer", 1.0),
    "ManufacturersModelName": ("ManufacturerModelName", 1.0),
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "EchoTime": ("EchoTime", _SECONDS),
    "RepetitionTime": ("RepetitionTime", _SECONDS),
    "RepetitionTimeExcitation": ("RepetitionTime", _SECONDS),
    "InversionTime": ("InversionTime", _SECONDS),
    "FlipAngle": ("FlipAngle", 1.0),
    "SliceThickness": ("SliceThickness", 1.0),
    "SpacingBetweenSlices": ("SpacingBetweenSlices", 1.0),
    "BodyPart": ("BodyPartExamined", 1.0),
    "BodyPartExamined": ("BodyPartExamined", 1.0),
    "ContrastBolusIngredient": ("ContrastBolusAgent", 1.0),
    "ScanningSequence": ("ScanningSequence", 1.0),
    "MRAcquisitionType": ("MRAcquisitionType", 1.0),
    "ConvolutionKernel": ("ConvolutionKernel", 1.0),
    "KVP": ("KVP", 1.0),
    "Units": ("Units", 1.0),
}
"""Sidecar key to DICOM keyword, and what a number is multiplied with; nothing else is read."""


@dataclass(frozen=True)
class BidsName:
    """What a path says: the folders below the root, entities, suffix and extension."""

    folders: tuple[str, ...]
    entities: Mapping[str, str]
    suffix: str
    extension: str

    def applies_to(self, other: "BidsName") -> bool:
        """The inheritance principle: in a folder above or beside, same suffix, no entity more."""
        return (
            other.folders[: len(self.folders)] == self.folders
            and self.suffix == other.suffix
            and all(other.entities.get(key) == value for key, value in self.entities.items())
        )


def parse_name(path: str) -> BidsName | None:
    """What a path relative to the root says; `None` where its name is none of BIDS."""
    *folders, name = path.split("/")
    stem, dot, extension = name.partition(".")
    *parts, suffix = stem.split("_")
    pairs = [match for part in parts if (match := _ENTITY.fullmatch(part))]
    entities = {match[1]: match[2] for match in pairs}
    if len(entities) < len(parts) or not _SUFFIX.fullmatch(suffix):
        return None
    return BidsName(tuple(folders), entities, suffix, f"{dot}{extension}")


def read_json(path: Path) -> Mapping[str, Any] | None:
    """The object in a small JSON file; `None` where there is none to be read."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def known_values(sidecar: Mapping[str, Any]) -> dict[str, str]:
    """The listed values of a sidecar under DICOM's keywords and in its units."""
    found: dict[str, str] = {}
    for key, (keyword, scale) in SIDECAR_KEYS.items():
        text = _text(sidecar.get(key), scale)
        if text:
            found.setdefault(keyword, text)
    return found


def _text(value: Any, scale: float) -> str:
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return f"{value * scale:.10g}"
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = "\\".join(value)
    if not isinstance(value, str) or scale != 1.0:
        return ""
    return value.strip()[:_LONGEST]


def ignored_by(lines: Sequence[str]) -> Callable[[str], bool]:
    """Whether the lines of a .bidsignore, which reads like a .gitignore, name a path."""
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def is_ignored(path: str) -> bool:
        named = False
        for rule in rules:
            if _names(rule.removeprefix("!"), path):
                named = not rule.startswith("!")
        return named

    return is_ignored


def _names(rule: str, path: str) -> bool:
    """Whether one line names a path or a folder above it; a "/" inside ties it to the root."""
    pattern = rule.strip("/")
    is_tied = "/" in rule.rstrip("/")
    above = [str(part) for part in PurePosixPath(path).parents][:-1]
    places = above if rule.endswith("/") else [path, *above]
    for place in places:
        target = place if is_tied else place.rsplit("/", 1)[-1]
        if _matches(pattern.split("/"), target.split("/")):
            return True
    return False


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Folder by folder; "**" stands for any number of them."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(pattern[1:], parts) or _matches(pattern, parts[1:])
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(pattern[1:], parts[1:])
