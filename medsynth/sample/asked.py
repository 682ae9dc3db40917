"""What was asked for, row by row: the plan's own cells, and every attribute's distribution."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.models.cells import Bin, CellTable
from medsynth.sample.requests import Requests
from medsynth.sample.terms import Restriction, exactly, write_where

PLAN_FILE = "plan.json"
PLAN = "plan"
"""`of` of the rows that the plan itself names; the others carry their attribute's name."""


@dataclass(frozen=True)
class AskedRow:
    """A cell, how many scans of the cohort were asked to lie in it, and how many requests do.

    `asked` is whole where the plan names the cell, and an expectation where a cell follows from
    the trained mix.
    """

    of: str
    where: str
    terms: Mapping[str, Bin]
    asked: float
    drawn: int

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "AskedRow":
        """The row that `to_json` made."""
        terms = {
            n: tuple(b) if isinstance(b, list | tuple) else b for n, b in fields["terms"].items()
        }
        return cls(**{**fields, "terms": terms})

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON."""
        return asdict(self)

    def admits(self, attributes: Attributes, schema: AttributeSchema) -> bool:
        """Whether a scan with these attributes lies in the cell."""
        return Restriction(self.terms).admits(attributes, schema)


def read_asked(cohort: Path) -> tuple[AskedRow, ...]:
    """The rows that a cohort's folder holds; none of one that another maker drew."""
    if not (cohort / PLAN_FILE).is_file():
        return ()
    rows = json.loads((cohort / PLAN_FILE).read_text())["asked"]
    return tuple(map(AskedRow.from_json, rows))


def asked_rows(
    requests: Requests, cells: CellTable, drawn: Sequence[Attributes]
) -> tuple[AskedRow, ...]:
    """Rows of the plan's cells, then of every attribute's trained bins that can be drawn."""
    planned = [(PLAN, terms, float(count)) for terms, count in requests.planned]
    rows = [*planned, *_by_attribute(requests, cells)]
    return tuple(
        AskedRow(
            of,
            write_where(terms, requests.steps),
            terms,
            round(asked, 2),
            sum(Restriction(terms).admits(row, requests.schema) for row in drawn),
        )
        for of, terms, asked in rows
    )


def _by_attribute(
    requests: Requests, cells: CellTable
) -> Iterator[tuple[str, dict[str, Bin], float]]:
    """The expected number of scans in each trained bin of each attribute."""
    for name in requests.schema.names:
        found = dict.fromkeys(sorted(cells.bins_of(name), key=_rank), 0.0)
        for group in requests.groups:
            for parts in (parts for parts in group.blocks if name in parts[0][0]):
                total = sum(weight for _, weight in parts)
                for bins, weight in parts:
                    where = next(b for b in found if _is_within(bins[name], b))
                    found[where] += group.count * weight / total
        yield from ((name, {name: exactly(b)}, asked) for b, asked in found.items() if asked)


def _is_within(part: Bin, where: Bin) -> bool:
    if isinstance(part, tuple) and isinstance(where, tuple):
        return where[0] <= part[0] < where[1]
    return part == where


def _rank(where: Bin) -> tuple[bool, float, str]:
    """Numbers by size, words by alphabet, missing last."""
    return where is None, where[0] if isinstance(where, tuple) else 0.0, str(where)
