"""Units of attributes: what a unit measures, and how many of the base unit it is."""

import re

_BASE = {
    "length": {"mm": 1.0, "cm": 10.0, "m": 1000.0, "in": 25.4},
    "volume": {"mm3": 1.0, "ml": 1000.0, "cm3": 1000.0, "cc": 1000.0, "l": 1e6},
    "mass": {"kg": 1.0, "g": 1e-3, "lb": 0.45359237},
    "time": {"ms": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0},
    "age": {"years": 1.0, "months": 1 / 12, "weeks": 7 / 365.25, "days": 1 / 365.25},
    "field": {"T": 1.0, "mT": 1e-3, "G": 1e-4},
    "activity": {"MBq": 1.0, "Bq": 1e-6, "kBq": 1e-3, "GBq": 1000.0, "mCi": 37.0},
    "voltage": {"kV": 1.0, "V": 1e-3},
    "angle": {"degrees": 1.0, "rad": 57.29577951308232},
}
_SPELLINGS = {
    "millimeter": "mm", "millimetre": "mm", "centimeter": "cm", "centimetre": "cm", "inch": "in",
    "meter": "m", "metre": "m", "mm^3": "mm3", "mm³": "mm3", "cm^3": "cm3", "cm³": "cm3",
    "milliliter": "ml", "mL": "ml", "liter": "l", "litre": "l", "L": "l", "kilogram": "kg",
    "gram": "g", "pound": "lb", "lbs": "lb", "kgs": "kg", "year": "years", "yr": "years",
    "yrs": "years", "y": "years", "month": "months", "week": "weeks", "day": "days", "sec": "s",
    "second": "s", "seconds": "s", "msec": "ms", "millisecond": "ms", "milliseconds": "ms",
    "minute": "min", "minutes": "min", "hour": "h", "hours": "h", "tesla": "T", "Tesla": "T",
    "gauss": "G", "Gauss": "G", "kVp": "kV", "degree": "degrees", "deg": "degrees", "°": "degrees",
}  # fmt: skip
_KINDS = {unit: (kind, size) for kind, units in _BASE.items() for unit, size in units.items()}
_WITH_UNIT = re.compile(r"^([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\W\d].*|°)$")
_NAMED = re.compile(r"[\[(]\s*([^\])]+?)\s*[\])]\s*$")


def unit_of(text: str) -> str:
    """The usual spelling of a unit; empty where it is none that is known."""
    name = _SPELLINGS.get(text.strip(), text.strip())
    name = name if name in _KINDS else _SPELLINGS.get(name.lower(), name.lower())
    return name if name in _KINDS else ""


def is_known_unit(text: str) -> bool:
    """Whether a unit can be converted."""
    return bool(unit_of(text))


def unit_in(column: str) -> str:
    """The unit that a column's name ends with in brackets ("weight [kg]"); empty for none."""
    found = _NAMED.search(column)
    return unit_of(found[1]) if found else ""


def split_unit(text: str) -> tuple[str, str]:
    """(number, unit) of "70 kg"; the text as it is and no unit where it is something else."""
    found = _WITH_UNIT.match(text)
    unit = unit_of(found[2]) if found else ""
    return (found[1], unit) if found and unit else (text, "")


def factor(source: str, target: str) -> float:
    """What a number in one unit is multiplied with to be in another; 1 where either is unknown.

    Raises ValueError where the two measure different things.
    """
    one, other = unit_of(source), unit_of(target)
    if not one or not other or one == other:
        return 1.0
    (kind, size), (wanted, base) = _KINDS[one], _KINDS[other]
    if kind != wanted:
        raise ValueError(f"a unit of {kind} cannot be one of {wanted}")
    return size / base
