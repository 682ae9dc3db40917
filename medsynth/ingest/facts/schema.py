"""The attribute schema of an archive: as declared, completed by what the data show.

Without a declaration the usual tags and the table's harmless columns become attributes: numbers,
few distinct words, or labels. A column that could name a person, place or day is left out.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, AttributeSchema, AttributeValue
from medsynth.ingest.config import AttributeSource
from medsynth.ingest.facts.attributes import ALIASES, MASK, TAGS, Facts, Field, Origin, parse_value
from medsynth.ingest.facts.table import JOIN_COLUMNS, SUBJECT_COLUMNS
from medsynth.ingest.facts.units import factor
from medsynth.ingest.facts.vocabulary import TOP_AGE

MOST_WORDS = 20  # distinct values of a category or labels attribute that nobody declared
LONGEST_WORD = 32  # characters
_SHOWN_TAGS = ("age", "sex", "vendor", "field_strength", "view")
_ALWAYS = ("age", "sex")
SESSION_COLUMNS = ("session_id", "ses_id")
_PRIVATE = re.compile(
    r"(^|_)(id|ids|uid|mrn|pid|ssn|name|names|surname|date|dob|birth|birthday|day|time|site|center|"
    r"centre|hospital|institution|station|accession|address|street|city|zip|postcode|phone|"
    r"telephone|email|physician|doctor|operator|comment|comments|note|notes|remark|remarks|"
    r"description|text|file|path|image|label|mask|alias|number|key)(_|$)"
)
_DAY = re.compile(r"^(19|20)\d{2}[-/.]?[01]\d[-/.]?[0-3]\d$|^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}$")


def resolve_origins(name: str, source: AttributeSource, columns: Sequence[str]) -> list[Origin]:
    """Where a declared attribute's values lie; raises UsageProblem where nowhere."""
    places = source.sources or (name,)
    found = [origin for place in places if (origin := _origin(name, place, columns))]
    if len(found) == len(places):
        return found
    raise UsageProblem(
        f"attribute {name}: its source must be a column of the table, a mask "
        f'("mask:WHERE#LABELS") or one of the DICOM tags {", ".join(TAGS)}; it is none of them '
        "(was the table given?)"
    )


def _origin(name: str, place: str, columns: Sequence[str]) -> Origin | None:
    if place.startswith(MASK):
        return Origin(place, "mask")
    if place in columns:
        return Origin(place, "column", _concept(place) or _concept(name))
    tag = ALIASES.get(place, place)
    return Origin(tag, "tag", tag) if tag in TAGS else None


def _concept(name: str) -> str:
    """The DICOM keyword that a name stands for, whatever its case; empty for none."""
    tags = {tag.lower(): tag for tag in TAGS}
    return ALIASES.get(name.lower()) or tags.get(name.lower(), "")


def declared_fields(
    declared: Mapping[str, AttributeSource], columns: Sequence[str], facts: Sequence[Facts]
) -> list[Field]:
    """The declared attributes, ranges and values completed by the data.

    Columns of tables that lie with single subjects (BIDS) count, too.
    """
    known = {*columns, *(column for fact in facts for row in fact.rows for column in row)}
    return [
        _declared(name, source, resolve_origins(name, source, sorted(known)), facts)
        for name, source in declared.items()
    ]


def _declared(
    name: str, source: AttributeSource, origins: Sequence[Origin], facts: Sequence[Facts]
) -> Field:
    """A declaration; where it leaves the range or the values open, they are those seen."""
    unit = source.unit or ("years" if any(origin.is_age for origin in origins) else "")
    unit = unit or ("mm3" if any(origin.kind == "mask" for origin in origins) else "")
    attribute = Attribute(name, source.kind, unit if source.kind == "continuous" else source.unit)
    field = Field(
        attribute, tuple(origins), source.words, frozenset(source.missing), source.source_unit
    )
    if source.kind == "text":
        return replace(field, attribute=replace(attribute, unit="", values=()))
    if source.kind == "mask":
        images = tuple(replace(origin, kind="mask_image") for origin in origins)
        masks = replace(attribute, unit="", values=source.labels)
        return replace(field, attribute=masks, origins=images)
    texts = [text for origin in origins for text in _normal(field, origin, facts)]
    low, high, values = source.low, source.high, source.values
    if source.kind == "continuous":
        seen = _range([n for text in texts if (n := _number(text)) is not None], _top(field))
        low, high = seen[0] if low is None else low, seen[1] if high is None else high
    elif not values:
        values = _distinct(texts, split=source.kind == "labels")
        if len(values) > MOST_WORDS or any(len(word) > LONGEST_WORD for word in values):
            raise UsageProblem(f"attribute {name} has too many or too long values: declare them")
    done = replace(attribute, low=low, high=high, values=values, scale=source.scale)
    return replace(field, attribute=done)


def shown_fields(columns: Sequence[str], facts: Sequence[Facts]) -> list[Field]:
    """The attributes that the tags and the table's columns show."""
    taken = {_identifier(name) for name in columns}
    origins = {n: _origin(n, n, ()) for n in _SHOWN_TAGS if n not in taken}
    private = {*JOIN_COLUMNS, *SUBJECT_COLUMNS, *SESSION_COLUMNS}
    for column in columns:
        name = _identifier(column)
        if column not in private and name not in origins and not _PRIVATE.search(_snake(column)):
            origins[name] = Origin(column, "column", _concept(column))
    found = [_shown(name, origin, facts) for name, origin in origins.items() if origin]
    return [field for field in found if field]


def _shown(name: str, origin: Origin, facts: Sequence[Facts]) -> Field | None:
    is_number = origin.is_age or origin.concept == "MagneticFieldStrength"
    field = Field(Attribute(name, "continuous" if is_number else "category"), (origin,))
    texts = _normal(field, origin, facts)
    numbers = [_number(text) for text in texts]
    is_constant = len(set(texts)) < (1 if name in _ALWAYS else 2)
    if is_constant or any(_DAY.match(text) for text in texts):
        return None
    if all(number is not None for number in numbers):
        attribute = _shown_number(field, texts, [n for n in numbers if n is not None])
    else:
        identifying = frozenset[str]().union(*(fact.identifying for fact in facts))
        attribute = _shown_words(name, texts, identifying)
    return replace(field, attribute=attribute) if attribute else None


def _shown_number(field: Field, texts: Sequence[str], numbers: Sequence[float]) -> Attribute | None:
    if not all(map(math.isfinite, numbers)) or _are_numerals(texts):
        return None
    low, high = _range(numbers, _top(field))
    unit = "years" if field.origins[0].is_age else ""
    return Attribute(field.attribute.name, "continuous", unit, low, high)


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


def _normal(field: Field, origin: Origin, facts: Sequence[Facts]) -> list[str]:
    """Normal forms of all values that have one; a scan with two values counts twice."""
    found = [_try(field, origin, raw, fact) for fact in facts for raw in field.raw(origin, fact)]
    return [text for text in found if text]


def _try(field: Field, origin: Origin, raw: str, facts: Facts) -> str:
    try:
        return field.normal(origin, raw, facts)
    except ValueError:
        return ""


def _range(numbers: Sequence[float], top: float | None) -> tuple[float | None, float | None]:
    """Smallest and largest value, rounded outward so that they are nobody's own."""
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        return None, None
    low, high = min(finite), max(finite)
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0)) / 10
    most = round(math.ceil(high / step) * step, 10)
    return round(math.floor(low / step) * step, 10), most if top is None else min(most, top)


def _top(field: Field) -> float | None:
    """The highest age in the attribute's unit; `None` for what is no age."""
    is_age = any(origin.is_age for origin in field.origins)
    return TOP_AGE * factor("years", field.attribute.unit) if is_age else None


def _distinct(texts: Sequence[str], *, split: bool) -> tuple[str, ...]:
    words = [word for text in texts for word in (text.split("|") if split else [text])]
    return tuple(sorted(set(words)))


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
    letters = (letter if f"a{letter}".isidentifier() else " " for letter in column)
    name = re.sub(r"[ _]+", "_", "".join(letters)).strip("_")
    return name if name.isidentifier() else f"column_{name}"


def attributes_of(
    fields: Sequence[Field], facts: Facts
) -> tuple[dict[str, AttributeValue], tuple[str, ...]]:
    """(attributes, flags) of one scan."""
    parsed = {field.attribute.name: parse_value(field, facts) for field in fields}
    flags = {flag for one in parsed.values() for flag in one.flags}
    values = {name: one.value for name, one in parsed.items()}
    if fields and all(value is None for value in values.values()) and not facts.rows:
        flags.add("no_attributes")
    return values, tuple(sorted(flags))


def schema_of(fields: Sequence[Field]) -> AttributeSchema:
    """The schema of these fields."""
    return AttributeSchema(tuple(field.attribute for field in fields))


def count_flags(flags: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """How many scans carry each flag."""
    return dict(sorted(Counter(flag for own in flags for flag in own).items()))
