"""The attributes of each image IOD (PS3.3): all that a file of that kind may keep.

modules.json is condensed from highdicom's module tables: attributes of a module at top level, and
for each sequence the attributes that its items may hold, with the strictest type found.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pydicom.datadict import tag_for_keyword

Allowed = Mapping[int, str]
"""Tag to type: 1, 1C, 2, 2C or 3."""

_STANDARD_EXTENDED = (
    "AcquisitionDuration",
    "DiffusionBValue",
    "DiffusionDirectionality",
    "DiffusionGradientOrientation",
    "EffectiveEchoTime",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "LongitudinalTemporalInformationModified",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "SliceLocation",
    "SliceThickness",
    "SpacingBetweenSlices",
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "TriggerTime",
)
"""Physics that scanners write outside their IOD (Standard Extended SOP Classes, PS3.2 7.3)."""


@cache
def _data() -> Mapping[str, Any]:
    place = files("medsynth.ingest.deidentification").joinpath("modules.json")
    data: dict[str, Any] = json.loads(place.read_text())
    return data


@cache
def top_level(sop_class: str) -> Allowed:
    """What a file of this SOP class may hold; empty where the class is no image we know."""
    iod = _data()["sops"].get(sop_class)
    if iod is None:
        return {}
    allowed = {_tag(keyword): "3" for keyword in _STANDARD_EXTENDED}
    for module in _data()["iods"][iod].split():
        allowed |= _attributes(_data()["modules"][module])
    return allowed


@cache
def item_level(sequence: int) -> Allowed:
    """What an item of this sequence may hold, wherever the sequence stands."""
    return _items().get(sequence, {})


@cache
def _items() -> Mapping[int, Allowed]:
    return {_tag(name): _attributes(groups) for name, groups in _data()["items"].items()}


def _attributes(groups: Mapping[str, str]) -> dict[int, str]:
    return {_tag(word): kind for kind, words in groups.items() for word in words.split()}


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"modules.json must hold keywords of PS3.6, got {keyword}")
    return tag
