"""The attribute schema of an archive: as declared, completed by what the data show.

Without a declaration the usual tags and the table's harmless columns become attributes: numbers,
few distinct words, or labels. A column that could name a person, place or day is left out.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, AttributeSchema, AttributeValue
from medsynth.ingest.attributes import (
    ALIASES,
    TAGS,
    TOP_AGE,
    Facts,
    Origin,
    normal_age,
    parse_value,
)
from medsynth.ingest.config import AttributeSource
from medsynth.ingest.table import JOIN_COLUMNS, SUBJECT_COLUMNS

MOST_WORDS = 20  # distinct values of a category or labels attribute that nobody declared
LONGEST_WORD = 32  # characters
_SHOWN_TAGS = ("age", "sex", "vendor", "field_strength", "view")
_ALWAYS = ("age", "sex")
_PRIVATE = re.compile(
    r"(^|_)(id|ids|uid|mrn|pid|ssn|name|names|surname|date|dob|birth|birthday|day|time|site|center|"
    r"centre|hospital|institution|station|accession|address|street|city|zip|postcode|phone|"
    r"telephone|email|physician|doctor|operator|comment|comments|note|notes|remark|remarks|"
    r"description|text|file|path|image|label|mask|alias|number|key)(_|$)"
)
_DAY = re.compile(r"^(19|20)\d{2}[-/.]?[01]\d[-/.]?[0-3]\d$|^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}$")


@dataclass(frozen=True)
class Field:
    """One attribute with where its value comes from and other spellings of its values."""

    attribute: Attribute
    origin: Origin
    words: Mapping[str, str]


def resolve_origin(name: str, source: str, columns: Sequence[str]) -> Origin:
    """Where a declared attribute's values lie; raises UsageProblem where nowhere."""
    place = source or name
    if place in columns:
        return Origin(place, is_tag=False)
    tag = ALIASES.get(place, place)
    if tag in TAGS:
        return Origin(tag, is_tag=True)
    raise UsageProblem(
        f"attribute {name}: its source must be a column of the table or one of the DICOM tags "
        f"{', '.join(TAGS)}; it is neither (was the table given?)"
    )


def declared_fields(
    declared: Mapping[str, AttributeSource], columns: Sequence[str], facts: Sequence[Facts]
) -> list[Field]:
    """The declared attributes, ranges and values completed by the data."""
    return [
        _declared(name, source, resolve_origin(name, source.source, columns), facts)
        for name, source in declared.items()
    ]


def _declared(name: str, source: AttributeSource, origin: Origin, facts: Sequence[Facts]) -> Field:
    """A declaration; where it leaves the range or the values open, they are those seen."""
    texts = [source.words.get(text, text) for text in _normal(origin, facts)]
    low, high, values = source.low, source.high, source.values
    if source.kind == "continuous":
        seen = _range(origin, [number for text in texts if (number := _number(text)) is not None])
        low, high = seen[0] if low is None else low, seen[1] if high is None else high
    elif not values:
        values = _distinct(texts, split=source.kind == "labels")
        if len(values) > MOST_WORDS or any(len(word) > LONGEST_WORD for word in values):
            raise UsageProblem(f"attribute {name} has too many or too long values: declare them")
    attribute = Attribute(name, source.kind, source.unit, low, high, values, source.scale)
    return Field(attribute, origin, source.words)


def shown_fields(columns: Sequence[str], facts: Sequence[Facts]) -> list[Field]:
    """The attributes that the tags and the table's columns show."""
    taken = {_identifier(name) for name in columns}
    origins = {n: Origin(ALIASES[n], is_tag=True) for n in _SHOWN_TAGS if n not in taken}
    private = {*JOIN_COLUMNS, *SUBJECT_COLUMNS}
    for column in columns:
        name = _identifier(column)
        if column not in private and name not in origins and not _PRIVATE.search(_snake(column)):
            origins[name] = Origin(column, is_tag=False)
    found = [_shown(name, origin, facts) for name, origin in origins.items()]
    return [Field(attribute, origins[attribute.name], {}) for attribute in found if attribute]


def _shown(name: str, origin: Origin, facts: Sequence[Facts]) -> Attribute | None:
    texts = _normal(origin, facts)
    numbers = [_number(text) for text in texts]
    is_constant = len(set(texts)) < (1 if name in _ALWAYS else 2)
    if is_constant or any(_DAY.match(text) for text in texts):
        return None
    if all(number is not None for number in numbers):
        return _shown_number(name, origin, texts, [n for n in numbers if n is not None])
    identifying = frozenset[str]().union(*(fact.identifying for fact in facts))
    return _shown_words(name, texts, identifying)


def _shown_number(
    name: str, origin: Origin, texts: Sequence[str], numbers: Sequence[float]
) -> Attribute | None:
    if not all(map(math.isfinite, numbers)) or _are_numerals(texts):
        return None
    low, high = _range(origin, numbers)
    return Attribute(name, "continuous", "years" if _is_age(origin) else "", low, high)


def _are_numerals(texts: Sequence[str]) -> bool:
    """Whether these are names written in digits: long, of one length, hardly ever repeated."""
    lengths = {len(text) for text in texts if text.isdigit()}
    are_long = len(lengths) == 1 and min(lengths) >= 5 and all(text.isdigit() for text in texts)
    return are_long and len(set(texts)) > 0.8 * len(texts)


def _shown_words(name: str, texts: Sequence[str], identifying: frozenset[str]) -> Attribute | None:
    has_labels = any("|" in text for text in texts)
    values = _distinct(texts, split=has_labels)
    are_few = len(values) <= min(MOST_WORDS, max(2, len(texts) // 5))
    if not are_few or any(len(word) > LONGEST_WORD or _digits(word) > 4 for word in values):
        return None
    if any(private in word.lower() for word in values for private in identifying):
        return None
    return Attribute(name, "labels" if has_labels else "category", values=values)


def _normal(origin: Origin, facts: Sequence[Facts]) -> list[str]:
    """Normal forms of all values that have one; a scan with two values counts twice."""
    return [text for fact in facts for raw in fact.raw(origin) if (text := _try(origin, raw))]


def _try(origin: Origin, raw: str) -> str:
    try:
        return origin.normalize(raw)
    except ValueError:
        return ""


def _range(origin: Origin, numbers: Sequence[float]) -> tuple[float | None, float | None]:
    """Smallest and largest value, rounded outward so that they are nobody's own."""
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        return None, None
    low, high = min(finite), max(finite)
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0)) / 10
    top = round(math.ceil(high / step) * step, 10)
    return round(math.floor(low / step) * step, 10), min(top, TOP_AGE) if _is_age(origin) else top


def _distinct(texts: Sequence[str], *, split: bool) -> tuple[str, ...]:
    words = [word for text in texts for word in (text.split("|") if split else [text])]
    return tuple(sorted(set(words)))


def _is_age(origin: Origin) -> bool:
    return origin.normalize is normal_age


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _digits(word: str) -> int:
    return sum(character.isdigit() for character in word)


def _snake(column: str) -> str:
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column)).lower()


def _identifier(column: str) -> str:
    name = re.sub(r"\W+", "_", column).strip("_")
    return name if name.isidentifier() else f"column_{name}"


def attributes_of(
    fields: Sequence[Field], facts: Facts
) -> tuple[dict[str, AttributeValue], tuple[str, ...]]:
    """(attributes, flags) of one scan."""
    parsed = {f.attribute.name: parse_value(f.attribute, f.origin, facts, f.words) for f in fields}
    flags = {flag for _, flag in parsed.values() if flag}
    values = {name: value for name, (value, _) in parsed.items()}
    if fields and all(value is None for value in values.values()) and not facts.rows:
        flags.add("no_attributes")
    return values, tuple(sorted(flags))


def schema_of(fields: Sequence[Field]) -> AttributeSchema:
    """The schema of these fields."""
    return AttributeSchema(tuple(field.attribute for field in fields))


def count_flags(flags: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """How many scans carry each flag."""
    return dict(sorted(Counter(flag for own in flags for flag in own).items()))
