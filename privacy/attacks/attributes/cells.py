"""Company: how many train subjects share what each synthetic scan was asked to be.

The generator draws requests from cells of its attributes; whoever reads the exported table reads
them back. Each exported vector must lie in a cell with at least k train subjects (k-anonymity:
Sweeney 2002), who must not all have the same value of any other attribute (l-diversity:
Machanavajjhala et al. 2007). A cell that no train subject lies in concerns none of them: it comes
of attributes drawn independently of each other.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medsynth.core.schema import Attributes, AttributeSchema, AttributeValue
from privacy.folds import Fold

Bin = int | str | None
"""The number of an interval, a word, or missing."""


@dataclass(frozen=True)
class Grid:
    """Attributes that were drawn together, and the inner edges of the numeric ones' bins."""

    names: tuple[str, ...]
    edges: Mapping[str, tuple[float, ...]]

    def cell(self, row: Attributes, without: str = "") -> tuple[Bin, ...]:
        """Where a row lies."""
        return tuple(self.bin(name, row.get(name)) for name in self.names if name != without)

    def bin(self, name: str, value: AttributeValue) -> Bin:
        """One value's bin."""
        if value is None or name not in self.edges:
            return None if value is None else str(value)
        return int(np.searchsorted(self.edges[name], float(value), side="right"))


@dataclass(frozen=True)
class Company:
    """The smallest number of train subjects in the cell of an exported scan, and of known values of
    an attribute among those who share all others; how many scans lie below either limit."""

    num_exported: int
    fewest_subjects: int
    fewest_values: int
    num_lonely: int
    num_alike: int


def quantile_grid(schema: AttributeSchema, rows: Sequence[Attributes], num_bins: int) -> Grid:
    """All attributes together, numbers in bins of equally many scans."""
    shares = np.arange(1, num_bins) / num_bins
    edges = {}
    for attribute in (a for a in schema if a.is_numeric):
        values = [float(v) for row in rows if (v := row.get(attribute.name)) is not None]
        inner = np.unique(np.quantile(values, shares)).tolist() if values else []
        edges[attribute.name] = tuple(inner)
    return Grid(tuple(a.name for a in schema if a.kind not in ("text", "mask")), edges)


def company(
    exported: Sequence[Attributes],
    train: Fold,
    grids: Sequence[Grid],
    *,
    k: int,
    num_values: int = 2,
) -> Company:
    """The company of every exported vector, in each grid."""
    subjects, values = [], []
    for grid in grids:
        inside, told = _count(train, grid)
        subjects.append([inside.get(grid.cell(row)) for row in exported])
        values.append([_fewest(row, grid, told) for row in exported])
    lonely = [[n is not None and n < k for n in column] for column in subjects]
    alike = [[n is not None and n < num_values for n in column] for column in values]
    return Company(
        len(exported),
        min((n for column in subjects for n in column if n is not None), default=k),
        min((n for column in values for n in column if n is not None), default=num_values),
        sum(map(any, zip(*lonely, strict=True))),
        sum(map(any, zip(*alike, strict=True))),
    )


_Told = dict[tuple[str, tuple[Bin, ...]], set[Bin]]


def _count(train: Fold, grid: Grid) -> tuple[dict[tuple[Bin, ...], int], _Told]:
    """Subjects by cell; and known values of each attribute by the cell of the others."""
    inside: dict[tuple[Bin, ...], set[int]] = defaultdict(set)
    told: _Told = defaultdict(set)
    for row, subject in zip(train.attributes, train.subjects.tolist(), strict=True):
        inside[grid.cell(row)].add(subject)
        for name in (n for n, value in row.items() if value is not None):
            told[name, grid.cell(row, without=name)].add(grid.bin(name, row[name]))
    return {cell: len(who) for cell, who in inside.items()}, told


def _fewest(row: Attributes, grid: Grid, told: _Told) -> int | None:
    found = [len(told[key]) for name in row if (key := (name, grid.cell(row, name))) in told]
    return min(found, default=None)
