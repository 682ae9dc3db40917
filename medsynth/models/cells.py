"""How many training subjects share an attribute cell: what may be asked for, and how often.

Continuous attributes are cut into quantile bins, halved in number until most subjects share
their cell with enough others; "missing" is a bin like any other. Attributes that cannot share
one table without emptying it start another, drawn independently.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np

from medsynth.core.schema import Attribute, Attributes, AttributeSchema, AttributeValue

NUM_BINS = (8, 4, 2)
ENOUGH, COVERED = 11, 0.8
NUM_PARTS = 12
_NEARLY = 1e-6
"""Of a step: what rounding may take from a quantile that lies on the grid."""
_WITHOUT_CELLS = ("text", "mask")

Interval = tuple[float, float]
Bin = Interval | str | None
"""A half-open interval, a word, or missing."""


@dataclass(frozen=True)
class Cell:
    """One bin per attribute, and how many training subjects lie there.

    `crowds` are parts of a number's bin, by its name, each with ENOUGH of the cell's subjects or
    more; they may overlap. Where a cell is too small for any there are none.
    """

    bins: Mapping[str, Bin]
    count: int
    crowds: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)

    def at_least(self, parts: Mapping[str, Bin]) -> int:
        """How many of its subjects lie for sure in these parts of its bins.

        By the bound of Fréchet: who is not missing from any part lies in all of them.
        """
        missing = (self.count - self._in_part(name, part) for name, part in parts.items())
        return max(0, self.count - sum(missing))

    def _in_part(self, name: str, part: Bin) -> int:
        if part == self.bins[name] or not isinstance(part, tuple):
            return self.count
        apart, reached = 0, part[0]
        for low, high in sorted(self.crowds.get(name, ()), key=lambda crowd: crowd[1]):
            if reached <= low and high <= part[1]:
                apart, reached = apart + 1, high
        return min(self.count, ENOUGH * apart)


@dataclass(frozen=True)
class CellTable:
    """Blocks of cells, independent of each other, and the precision of each number."""

    blocks: tuple[tuple[Cell, ...], ...]
    steps: Mapping[str, float]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "CellTable":
        """The table that `dataclasses.asdict` and JSON made."""
        return cls(tuple(tuple(map(_read_cell, b)) for b in fields["blocks"]), fields["steps"])

    def bins_of(self, name: str) -> tuple[Bin, ...]:
        """The different bins of an attribute; none of one that has no cells."""
        found = (cell.bins[name] for block in self.blocks for cell in block if name in cell.bins)
        return tuple(dict.fromkeys(found))


def holds(where: Bin, value: AttributeValue) -> bool:
    """Whether a value lies in a bin."""
    if isinstance(where, tuple):
        return isinstance(value, float | int) and where[0] <= value < where[1]
    return where == value


def _read_cell(fields: Mapping[str, Any]) -> Cell:
    bins = {n: tuple(b) if isinstance(b, list | tuple) else b for n, b in fields["bins"].items()}
    told = fields.get("crowds", {})
    crowds = {name: tuple((low, high) for low, high in parts) for name, parts in told.items()}
    return Cell(bins, fields["count"], crowds)


def count_cells(
    schema: AttributeSchema, rows: Sequence[Attributes], subjects: Sequence[str]
) -> CellTable:
    """The cells of the training fold; a subject counts once in each cell it has a scan in.

    Free texts and masks have none: each is its subject's own.
    """
    steps = {a.name: _precision(_numbers(a, rows)) for a in schema if a.is_numeric}
    blocks: list[tuple[Cell, ...]] = []
    names: list[str] = []
    for attribute in (a for a in schema if a.kind not in _WITHOUT_CELLS):
        cells = _joint(schema, [*names, attribute.name], rows, subjects, steps)
        if cells is None:
            names = []
            cells = _table(schema, [attribute.name], rows, subjects, steps, NUM_BINS[1])
        blocks = [*blocks[:-1], cells] if names else [*blocks, cells]
        names = [*names, attribute.name]
    return CellTable(tuple(blocks), steps)


def _joint(
    schema: AttributeSchema,
    names: Sequence[str],
    rows: Sequence[Attributes],
    subjects: Sequence[str],
    steps: Mapping[str, float],
) -> tuple[Cell, ...] | None:
    """The finest table in which most subjects have enough company, if there is one."""
    for num_bins in NUM_BINS:
        cells = _table(schema, names, rows, subjects, steps, num_bins)
        total = sum(cell.count for cell in cells)
        if sum(cell.count for cell in cells if cell.count >= ENOUGH) >= COVERED * total:
            return cells
    return None


def _table(
    schema: AttributeSchema,
    names: Sequence[str],
    rows: Sequence[Attributes],
    subjects: Sequence[str],
    steps: Mapping[str, float],
    num_bins: int,
) -> tuple[Cell, ...]:
    edges = {n: _edges(schema[n], rows, steps[n], num_bins) for n in names if n in steps}
    inside: dict[tuple[Bin, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        inside[tuple(_bin(row.get(n), edges.get(n)) for n in names)].append(number)
    cells = []
    for key in sorted(inside, key=repr):
        bins, owners = dict(zip(names, key, strict=True)), [subjects[n] for n in inside[key]]
        here = [rows[number] for number in inside[key]]
        crowds = {
            name: found
            for name, where in bins.items()
            if isinstance(where, tuple)
            and (found := _crowds(schema[name], here, owners, where, steps[name]))
        }
        cells.append(Cell(bins, len(set(owners)), crowds))
    return tuple(cells)


def _crowds(
    attribute: Attribute,
    rows: Sequence[Attributes],
    owners: Sequence[str],
    where: Interval,
    step: float,
) -> tuple[Interval, ...]:
    """The smallest parts of a bin that hold ENOUGH of these subjects.

    Their edges cut the bin into NUM_PARTS, wherever its people are: no edge is anybody's value.
    """
    values, edges = np.array(_numbers(attribute, rows)), _parts(attribute, where, step)
    found: list[Interval] = []
    for low in edges:
        inside = ((high, (low <= values) & (values < high)) for high in edges if high > low)
        crowded = (h for h, is_in in inside if len({*compress(owners, is_in)}) >= ENOUGH)
        high = next(crowded, None)
        if high is not None:
            # Of those with one upper edge only the last holds no other.
            found = [crowd for crowd in found if crowd[1] != high] + [(low, high)]
    return tuple(found)


def _parts(attribute: Attribute, where: Interval, step: float) -> list[float]:
    """Edges of equal parts of a bin, on the attribute's scale and the step's grid."""
    is_log = attribute.scale == "log"
    low, high = np.log1p(where) if is_log else where
    inner = np.linspace(low, high, NUM_PARTS + 1)[1:-1]
    between = {_on_grid(edge, step) for edge in (np.expm1(inner) if is_log else inner)}
    return sorted({*where, *(edge for edge in between if where[0] < edge < where[1])})


def _numbers(attribute: Attribute, rows: Sequence[Attributes]) -> list[float]:
    return [float(v) for row in rows if (v := row.get(attribute.name)) is not None]


def _precision(values: Sequence[float]) -> float:
    """The step that requests are rounded to: 1 for whole numbers, else about 1/200 of the range."""
    if not values or all(value == int(value) for value in values):
        return 1.0
    spread = max(values) - min(values)
    return float(10.0 ** math.floor(math.log10(spread / 20))) if spread > 0 else 1.0


def _edges(
    attribute: Attribute, rows: Sequence[Attributes], step: float, num_bins: int
) -> tuple[float, ...]:
    """Quantile edges on the step's grid; the outer ones leave 1 % of the scans outside, or more.

    A lone extreme value is thus neither asked for nor readable from the table, and whatever is
    drawn from it lies in the trained range.
    """
    values = _numbers(attribute, rows)
    if not values:
        return (0.0, step)
    shares = np.clip(np.linspace(0, 1, num_bins + 1), 0.01, 0.99)
    found = np.quantile(values, shares) / step
    low, high = math.ceil(found[0] - _NEARLY), math.floor(found[-1] + _NEARLY)
    inner = [min(max(round(edge), low), high) for edge in found[1:-1]]
    return tuple(sorted({round(n * step, 10) for n in (low, *inner, max(high, low) + 1)}))


def _on_grid(value: float, step: float) -> float:
    return round(round(float(value) / step) * step, 10)


def _bin(value: AttributeValue, edges: tuple[float, ...] | None) -> Bin:
    if value is None or edges is None:
        return None if value is None else str(value)
    inner = edges[1:-1]
    index = int(np.searchsorted(inner, float(value), side="right"))
    return edges[index], edges[index + 1]


def draw_value(
    attribute: Attribute, where: Bin, step: float, rng: np.random.Generator
) -> AttributeValue:
    """A value of a bin: uniform on the attribute's scale, on the step's grid."""
    return value_at(attribute, where, step, rng.random()) if isinstance(where, tuple) else where


def value_at(attribute: Attribute, where: Interval, step: float, share: float) -> float:
    """The value a share of the way through an interval, on the attribute's scale and the grid."""
    low, high = where
    if attribute.scale == "log":
        value = math.expm1(math.log1p(low) + share * (math.log1p(high) - math.log1p(low)))
    else:
        value = low + share * (high - low)
    return round(max(low, math.floor(value / step) * step), 10)
