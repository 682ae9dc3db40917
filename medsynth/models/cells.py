"""How many training subjects share an attribute cell: what may be asked for, and how often.

Continuous attributes are cut into quantile bins, halved in number until most subjects share
their cell with enough others; "missing" is a bin like any other. Attributes that cannot share
one table without emptying it start another, drawn independently.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medsynth.core.schema import Attribute, Attributes, AttributeSchema, AttributeValue

NUM_BINS = (8, 4, 2)
ENOUGH, COVERED = 11, 0.8

Bin = tuple[float, float] | str | None
"""A half-open interval, a word, or missing."""


@dataclass(frozen=True)
class Cell:
    """One bin per attribute, and how many training subjects lie there."""

    bins: Mapping[str, Bin]
    count: int


@dataclass(frozen=True)
class CellTable:
    """Blocks of cells, independent of each other, and the precision of each number."""

    blocks: tuple[tuple[Cell, ...], ...]
    steps: Mapping[str, float]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "CellTable":
        """The table that `dataclasses.asdict` and JSON made."""
        return cls(tuple(tuple(map(_read_cell, b)) for b in fields["blocks"]), fields["steps"])


def _read_cell(fields: Mapping[str, Any]) -> Cell:
    bins = {n: tuple(b) if isinstance(b, list | tuple) else b for n, b in fields["bins"].items()}
    return Cell(bins, fields["count"])


def count_cells(
    schema: AttributeSchema, rows: Sequence[Attributes], subjects: Sequence[str]
) -> CellTable:
    """The cells of the training fold; a subject counts once in each cell it has a scan in."""
    steps = {a.name: _precision(_numbers(a, rows)) for a in schema if a.is_numeric}
    blocks: list[tuple[Cell, ...]] = []
    names: list[str] = []
    for attribute in schema:
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
    members: dict[tuple[Bin, ...], set[str]] = defaultdict(set)
    for row, subject in zip(rows, subjects, strict=True):
        members[tuple(_bin(row.get(n), edges.get(n)) for n in names)].add(subject)
    keys = sorted(members, key=repr)
    return tuple(Cell(dict(zip(names, key, strict=True)), len(members[key])) for key in keys)


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
    """Quantile edges on the step's grid; the outer ones leave 1 % of the scans outside.

    A lone extreme value is thus neither asked for nor readable from the table.
    """
    values = _numbers(attribute, rows)
    if not values:
        return (0.0, step)
    shares = np.clip(np.linspace(0, 1, num_bins + 1), 0.01, 0.99)
    inner = [_on_grid(edge, step) for edge in np.quantile(values, shares)]
    inner[-1] += step
    return tuple(sorted({_on_grid(edge, step) for edge in inner}))


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
    if where is None or isinstance(where, str):
        return where
    low, high = where
    u = rng.random()
    if attribute.scale == "log":
        value = math.expm1(math.log1p(low) + u * (math.log1p(high) - math.log1p(low)))
    else:
        value = low + u * (high - low)
    return round(max(low, math.floor(value / step) * step), 10)
