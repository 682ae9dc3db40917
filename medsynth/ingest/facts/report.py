"""How raw values became normal ones: counts by attribute, and no raw value.

A raw value may identify a person; its normal form, on a closed list or declared, may be counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from medsynth.ingest.facts.attributes import Facts, Field, Parsed, parse_value

_STATES = ("refused", "ambiguous", "conflict")


def attribute_report(fields: Sequence[Field], facts: Sequence[Facts]) -> dict[str, dict[str, Any]]:
    """By attribute: scans without a value and why, where values came from, their normal forms.

    `spellings` counts the distinct raw values behind each normal form of a word.
    """
    return {field.attribute.name: _report(field, facts) for field in fields}


def _report(field: Field, facts: Sequence[Facts]) -> dict[str, Any]:
    parsed = [parse_value(field, fact) for fact in facts]
    name = field.attribute.name
    flags = Counter(flag for one in parsed for flag in one.flags)
    origins = Counter(one.origin.kind for one in parsed if one.origin)
    report: dict[str, Any] = {
        "missing": sum(one.value is None for one in parsed),
        **{state: flags[f"attribute_{state}:{name}"] for state in _STATES},
        "top_coded": flags["top_coded"],
        "from": dict(sorted(origins.items())),
    }
    if field.attribute.kind not in ("continuous", "mask", "text"):
        report["values"] = _values(field, facts, parsed)
    return report


def _values(
    field: Field, facts: Sequence[Facts], parsed: Sequence[Parsed]
) -> Mapping[str, dict[str, int]]:
    """By normal form: how many scans have it, and how many raw spellings lead to it."""
    scans: Counter[str] = Counter()
    spellings: dict[str, set[str]] = {}
    for fact, one in zip(facts, parsed, strict=True):
        if one.origin is not None and one.value is not None:
            scans[str(one.value)] += 1
            spellings.setdefault(str(one.value), set()).update(fact.raw(one.origin))
    return {v: {"scans": n, "spellings": len(spellings[v])} for v, n in sorted(scans.items())}
