"""The language of requests: "sex=F age=60..80 lesion=missing".

A term is a value, a range of a number (both ends belong to it) or `missing`. Words with blanks
stand in quotes; of several labels `finding=cyst` is in every set that holds it, and
`finding==cyst` is that set alone.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, Attributes, AttributeSchema
from medsynth.models.cells import Bin, Cell, CellTable, holds

MISSING, DOTS, EXACTLY = "missing", "..", "="


@dataclass(frozen=True)
class Restriction:
    """Terms of a `where`: an interval, a word, or None for missing, by attribute name."""

    terms: Mapping[str, Bin]

    def share(self, cell: Cell, attribute: Attribute) -> tuple[float, Bin]:
        """Which part of a cell's bin is left, and that part."""
        where = cell.bins[attribute.name]
        if attribute.name not in self.terms:
            return 1.0, where
        term = self.terms[attribute.name]
        if isinstance(term, tuple) and isinstance(where, tuple):
            low, high = max(term[0], where[0]), min(term[1], where[1])
            return max(0.0, (high - low) / (where[1] - where[0])), (low, high)
        return float(not isinstance(where, tuple) and _is_word(term, where, attribute)), where

    def admits(self, attributes: Attributes, schema: AttributeSchema) -> bool:
        """Whether a scan's attributes keep every term."""
        return all(
            holds(term, attributes.get(name))
            if isinstance(term, tuple)
            else _is_word(term, attributes.get(name), schema[name])
            for name, term in self.terms.items()
        )


def _is_word(term: Bin, value: object, attribute: Attribute) -> bool:
    if term is None or value is None:
        return term is None and value is None
    words = str(value).split("|") if attribute.kind == "labels" else []
    return term in (value, f"{EXACTLY}{value}") or term in words


def parse_where(where: str, schema: AttributeSchema, cells: CellTable) -> Restriction:
    """The terms of a restriction; raises UsageProblem, naming the attribute, for what is unseen."""
    terms: dict[str, Bin] = {}
    for term in _split(where):
        name, separator, value = term.partition("=")
        if not separator or name not in schema.names or name in terms:
            known = ", ".join(schema.names) or "none"
            raise UsageProblem(f"--where needs terms NAME=VALUE, each attribute of {known} once")
        terms[name] = parse_term(schema[name], value, cells)
    return Restriction(terms)


def _split(where: str) -> list[str]:
    try:
        return shlex.split(where)
    except ValueError:
        raise UsageProblem("--where must close every quotation mark that it opens") from None


def parse_term(attribute: Attribute, value: str, cells: CellTable) -> Bin:
    """What a term's value asks for; raises UsageProblem for what training never saw."""
    if value == MISSING:
        return None
    bins = cells.bins_of(attribute.name)
    if not bins:
        raise UsageProblem(f"{attribute.name} of kind {attribute.kind} has no cells to ask for")
    if attribute.is_numeric:
        return _parse_range(attribute.name, value, bins, cells.steps[attribute.name])
    words = {word for b in bins if isinstance(b, str) for word in [b, *b.split("|")]}
    if value.removeprefix(EXACTLY) not in words:
        trained = ", ".join(sorted(words))
        raise UsageProblem(f"{attribute.name} must be one of the trained values {trained}")
    return value


def _parse_range(name: str, value: str, bins: Iterable[Bin], step: float) -> Bin:
    low_text, dots, high_text = value.partition(DOTS)
    try:
        low, high = float(low_text), float(high_text if dots else low_text)
    except ValueError:
        raise UsageProblem(f"{name} must be a number or a range such as 60..80") from None
    edges = [edge for b in bins if isinstance(b, tuple) for edge in b]
    if not edges or not min(edges) <= low <= high <= max(edges):
        trained = f"{min(edges):g}..{max(edges) - step:g}" if edges else "of no values"
        raise UsageProblem(f"{name} must lie in the trained range {trained}")
    return low, round(high + step, 10)


def exactly(where: Bin) -> Bin:
    """The term that asks for a trained bin and no other."""
    return f"{EXACTLY}{where}" if isinstance(where, str) else where


def write_where(terms: Mapping[str, Bin], steps: Mapping[str, float]) -> str:
    """The text that `parse_where` reads as exactly these terms."""
    return " ".join(shlex.quote(f"{n}={_text(b, steps.get(n, 1.0))}") for n, b in terms.items())


def _text(term: Bin, step: float) -> str:
    if isinstance(term, tuple):
        low, high = term[0], round(term[1] - step, 10)
        return _number(low) if low == high else f"{_number(low)}{DOTS}{_number(high)}"
    return MISSING if term is None else term


def _number(value: float) -> str:
    """The shortest text that is read as this very number."""
    return repr(float(value)).removesuffix(".0")
