"""What is known about a scan: listed DICOM tags and declared columns, in their normal form.

Default deny: a tag that is not in `TAGS` and a column that nobody declared are never read.
Missing stays missing; what is out of range, unknown or ambiguous becomes missing with a flag.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from medsynth.core.schema import MISSING_WORDS, Attribute, AttributeValue

TOP_AGE = 89.0  # years; older people are few enough to be recognized by age alone
TAGS = (
    "PatientAge",
    "PatientSex",
    "Manufacturer",
    "MagneticFieldStrength",
    "BodyPartExamined",
    "ViewPosition",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "KVP",
    "SliceThickness",
)
ALIASES = {
    "age": "PatientAge",
    "sex": "PatientSex",
    "vendor": "Manufacturer",
    "field_strength": "MagneticFieldStrength",
    "body_part": "BodyPartExamined",
    "view": "ViewPosition",
}
_AGE = re.compile(r"^(\d{1,3}(?:\.\d+)?)\s*([DWMY]?)\+?$", re.IGNORECASE)
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0, "": 1.0}
_SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"}
_SEXES |= {"o": "O", "other": "O"}
_VENDORS = {
    r"siemens": "Siemens",
    r"\bge\b|general electric": "GE",
    r"philips": "Philips",
    r"canon|toshiba": "Canon",
    r"fuji|hitachi": "Fujifilm",
    r"hyperfine": "Hyperfine",
    r"\buih\b|united imaging": "United Imaging",
}


@dataclass(frozen=True)
class Origin:
    """Where an attribute's raw value lies: a DICOM tag or a column of the table."""

    place: str
    is_tag: bool

    @property
    def normalize(self) -> Callable[[str], str]:
        """Turns a raw value into the spelling that the schema parses."""
        return _NORMAL_FORMS.get(self.place.lower(), _plain)


@dataclass(frozen=True)
class Facts:
    """The raw facts of one scan: its planes' tags, the table's rows, and who and where it names."""

    tags: Sequence[Mapping[str, str]] = ()
    rows: Sequence[Mapping[str, str]] = ()
    identifying: frozenset[str] = frozenset()

    def raw(self, origin: Origin) -> set[str]:
        """The distinct values at an origin, missing ones left out."""
        where = self.tags if origin.is_tag else self.rows
        found = {(row.get(origin.place) or "").strip() for row in where}
        return {text for text in found if text.lower() not in MISSING_WORDS}


def parse_value(
    attribute: Attribute, origin: Origin, facts: Facts, words: Mapping[str, str]
) -> tuple[AttributeValue, str]:
    """(value, flag): missing with a flag where the raw value is ambiguous or not allowed."""
    raw = {words.get(text, text) for text in facts.raw(origin)}
    try:
        normal = {attribute.parse(origin.normalize(text)) for text in raw}
    except ValueError:
        return None, f"attribute_refused:{attribute.name}"
    if len(normal) > 1:
        return None, f"attribute_ambiguous:{attribute.name}"
    value = normal.pop() if normal else None
    return value, "top_coded" if _is_top_coded(origin, raw) else ""


def _is_top_coded(origin: Origin, raw: set[str]) -> bool:
    is_age = origin.normalize is normal_age
    return is_age and any(float(normal_age(text)) >= TOP_AGE for text in raw)


def normal_age(text: str) -> str:
    """Years, at most 89, of DICOM's "056Y", "006M", "010W", "003D", and of "56", "89+"."""
    match = _AGE.match(text)
    if not match:
        raise ValueError("an age must be a number of years or of DICOM's form")
    return f"{min(float(match[1]) / _PER_YEAR[match[2].upper()], TOP_AGE):.10g}"


def normal_sex(text: str) -> str:
    """F, M or O."""
    if text.lower() not in _SEXES:
        raise ValueError("a sex must be F, M or O")
    return _SEXES[text.lower()]


def normal_vendor(text: str) -> str:
    """One of a closed list of vendors."""
    found = (vendor for mark, vendor in _VENDORS.items() if re.search(mark, text.lower()))
    return next(found, "other")


def _plain(text: str) -> str:
    return text


def _upper(text: str) -> str:
    return text.upper()


_NORMAL_FORMS: dict[str, Callable[[str], str]] = {
    "patientage": normal_age,
    "age": normal_age,
    "patientsex": normal_sex,
    "sex": normal_sex,
    "gender": normal_sex,
    "manufacturer": normal_vendor,
    "bodypartexamined": _upper,
    "viewposition": _upper,
}
