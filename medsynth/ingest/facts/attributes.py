"""What is known about a scan: listed DICOM tags and declared columns, in their normal form.

Default deny: a tag that is not in `TAGS` and a column that nobody declared are never read.
Missing stays missing; what is out of range, unknown or contradictory becomes missing with a flag.
Nothing is imputed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from medsynth.core.schema import MISSING_WORDS, Attribute, AttributeValue
from medsynth.ingest.facts.units import factor, split_unit, unit_in, unit_of
from medsynth.ingest.facts.vocabulary import FORMS, TOP_AGE, normal_age, normal_field, normal_words
from medsynth.ingest.source import InputFile

TAGS = (
    "PatientAge",
    "PatientSex",
    "Manufacturer",
    "ManufacturerModelName",
    "MagneticFieldStrength",
    "AnatomicRegionSequence",
    "BodyPartExamined",
    "ViewPosition",
    "ScanningSequence",
    "MRAcquisitionType",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "KVP",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "SliceThickness",
    "SpacingBetweenSlices",
    "BidsSuffix",
)
"""What may be read of a header or a sidecar; the region as its code, the suffix of a BIDS name."""
ALIASES = {
    "age": "PatientAge",
    "sex": "PatientSex",
    "gender": "PatientSex",
    "vendor": "Manufacturer",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "field_strength": "MagneticFieldStrength",
    "body_part": "BodyPartExamined",
    "view": "ViewPosition",
    "sequence": "ScanningSequence",
    "contrast": "ContrastBolusAgent",
    "kernel": "ConvolutionKernel",
    "suffix": "BidsSuffix",
}
MASK = "mask:"
_TAG_UNITS = {
    "MagneticFieldStrength": "T",
    "EchoTime": "ms",
    "RepetitionTime": "ms",
    "InversionTime": "ms",
    "FlipAngle": "degrees",
    "KVP": "kV",
    "SliceThickness": "mm",
    "SpacingBetweenSlices": "mm",
}
_BASES: dict[Callable[[str], str], str] = {normal_age: "years", normal_field: "T"}
_UNIT_LETTERS = {"months": "M", "weeks": "W", "days": "D", "mT": "mT", "G": "G"}
_PREFERRED = {"BodyPartExamined": "AnatomicRegionSequence"}  # a code is right more often
_SAME_AGE = 1.0  # years; a header has whole ones
_SAME_NUMBER = 1e-3  # share; tables are rounded
UNREADABLE = "unreadable"  # in place of a mask's volume


@dataclass(frozen=True)
class Origin:
    """Where raw values lie: a DICOM tag, a column of a table, a mask's volume or the mask itself.

    `concept` is the DICOM keyword whose normal form the values have, empty for none.
    """

    place: str
    kind: Literal["tag", "column", "mask", "mask_image"] = "column"
    concept: str = ""

    @property
    def form(self) -> Callable[[str], str]:
        """Turns a raw value into the spelling that the schema parses."""
        return FORMS.get(self.concept, normal_words)

    @property
    def is_age(self) -> bool:
        """Whether the values are ages."""
        return self.form is normal_age


@dataclass(frozen=True)
class Facts:
    """The raw facts of one scan: its planes' tags, the table's rows, and who and where it names.

    `measured` are volumes of masks (mm3) by source, `units` those that a table's sidecar states;
    `mask_files` are masks that are attributes themselves, `mask_digests` what they are stored as.
    """

    tags: Sequence[Mapping[str, str]] = ()
    rows: Sequence[Mapping[str, str]] = ()
    identifying: frozenset[str] = frozenset()
    measured: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    mask_files: Mapping[str, tuple[InputFile, ...]] = field(default_factory=dict)
    mask_digests: Mapping[str, str] = field(default_factory=dict)

    def raw(self, origin: Origin) -> set[str]:
        """The distinct values at an origin, missing ones left out."""
        where = {
            "tag": self.tags,
            "column": self.rows,
            "mask": (self.measured,),
            "mask_image": (self.mask_digests,),
        }[origin.kind]
        better = _PREFERRED.get(origin.place, "")
        found = {(row.get(better) or row.get(origin.place) or "").strip() for row in where}
        return {text for text in found if text.lower() not in MISSING_WORDS}


@dataclass(frozen=True)
class Field:
    """One attribute: where its values come from, by priority, and how they may be spelled."""

    attribute: Attribute
    origins: tuple[Origin, ...]
    words: Mapping[str, str] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    source_unit: str = ""

    def raw(self, origin: Origin, facts: Facts) -> set[str]:
        """The distinct values at one origin in the declared words."""
        return {self.words.get(t, t) for t in facts.raw(origin) if t not in self.missing}

    def normal(self, origin: Origin, text: str, facts: Facts) -> str:
        """The normal form of one raw value in the attribute's unit; raises ValueError."""
        if self.attribute.kind != "continuous":
            return origin.form(text)
        return _number(text, origin, self._unit(origin, facts), self.attribute.unit)

    def _unit(self, origin: Origin, facts: Facts) -> str:
        """The unit of an origin's numbers where the values do not say it; empty for unknown."""
        if origin.kind == "tag":
            return _TAG_UNITS.get(origin.place, "")
        if origin.kind == "mask":
            return "mm3"
        stated = unit_of(facts.units.get(origin.place, "")) or unit_in(origin.place)
        return self.source_unit or stated


def _number(text: str, origin: Origin, unit: str, wanted: str) -> str:
    """A number in the unit wanted, of a text that may name its own; raises ValueError."""
    if base := _BASES.get(origin.form):
        is_bare = text.replace(".", "", 1).isdigit()
        normal = origin.form(text + _UNIT_LETTERS.get(unit, "") if is_bare else text)
        return _scaled(normal, base, wanted)
    number, own_unit = split_unit(text)
    return _scaled(number, own_unit or unit, wanted)


def _scaled(number: str, unit: str, wanted: str) -> str:
    times = factor(unit, wanted)
    return number if times == 1.0 else f"{float(number) * times:.10g}"


@dataclass(frozen=True)
class Parsed:
    """The value of one attribute of one scan, its flags, and the origin that it came from."""

    value: AttributeValue
    flags: tuple[str, ...] = ()
    origin: Origin | None = None


def parse_value(field: Field, facts: Facts) -> Parsed:
    """The first origin's value that there is; missing where sources contradict each other."""
    name, flags = field.attribute.name, set[str]()
    found: list[tuple[Origin, AttributeValue]] = []
    for origin in field.origins:
        try:
            normal = {
                field.attribute.parse(field.normal(origin, text, facts))
                for text in field.raw(origin, facts)
            }
        except ValueError:
            flags.add(f"attribute_refused:{name}")
            continue
        if len(normal) > 1:
            return Parsed(None, (f"attribute_ambiguous:{name}",))
        found += [(origin, value) for value in normal if value is not None]
    if not found:
        return Parsed(None, tuple(sorted(flags)))
    origin, value = found[0]
    if not all(_agree(origin, value, other) for _, other in found[1:]):
        return Parsed(None, (f"attribute_conflict:{name}",))
    if origin.is_age and _is_top_coded(field, origin, facts):
        flags.add("top_coded")
    return Parsed(value, tuple(sorted(flags)), origin)


def _agree(origin: Origin, one: AttributeValue, other: AttributeValue) -> bool:
    """Whether two sources say the same; a header's age is in whole years."""
    if isinstance(one, float) and isinstance(other, float):
        same = _SAME_AGE if origin.is_age else 0.0
        return math.isclose(one, other, rel_tol=_SAME_NUMBER, abs_tol=same)
    return one == other


def _is_top_coded(field: Field, origin: Origin, facts: Facts) -> bool:
    top = TOP_AGE * factor("years", field.attribute.unit)
    return any(float(field.normal(origin, t, facts)) >= top for t in field.raw(origin, facts))
