"""The joint distribution of a real table, as cells that many share.

Rows become counts by trained cell, each subject once; a cell that fewer than k_min of the table's
subjects share is left out, and so is one that fewer than k_min training subjects share. What is
asked for is drawn inside the cells: no row is copied, and the table itself is not kept.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.ingest.facts.table import read_table
from medsynth.models.cells import Bin, Cell, CellTable, holds
from medsynth.sample.plan import CellBlock, PlannedCell
from medsynth.sample.requests import reachable
from medsynth.sample.terms import Restriction, exactly, write_where


@dataclass(frozen=True)
class Likeness:
    """A table as cells, one margin for each block of attributes that it has columns of.

    `share` is the smallest part of its subjects that any margin stands for, in whole percents.
    """

    blocks: tuple[CellBlock, ...]
    share: float


def read_likeness(path: Path, schema: AttributeSchema, cells: CellTable, k_min: int) -> Likeness:
    """The cells of a table's rows; columns that the schema does not declare are not looked at.

    Raises UsageProblem, naming the attribute and never the value, where a value is none of the
    schema's, and where too few subjects are left.
    """
    table = read_table(path, join=(), subject="")
    names = [name for name in schema.names if name in table.columns]
    rows = [_parse(row, names, schema) for row in table.rows]
    owners = [
        row[table.subject_column] if table.subject_column else str(number)
        for number, row in enumerate(table.rows)
    ]
    found = [
        _block(block, schema, cells, rows, owners, k_min)
        for block in cells.blocks
        if set(names) & set(block[0].bins)
    ]
    if not found:
        known = ", ".join(schema.names) or "none"
        raise UsageProblem(f"the table must have a column of {known}, found none")
    return Likeness(tuple(block for block, _ in found), min(share for _, share in found))


def _parse(row: Mapping[str, str], names: Sequence[str], schema: AttributeSchema) -> Attributes:
    try:
        return {name: schema[name].parse(row[name]) for name in names}
    except ValueError as error:
        raise UsageProblem(f"the table: {error}") from None


def _block(
    block: Sequence[Cell],
    schema: AttributeSchema,
    cells: CellTable,
    rows: Sequence[Attributes],
    owners: Sequence[str],
    k_min: int,
) -> tuple[CellBlock, float]:
    """The cells of one block that enough of the table's and of the training subjects share."""
    names = [name for name in block[0].bins if name in rows[0]] if rows else []
    inside: dict[tuple[Bin, ...], set[str]] = defaultdict(set)
    places = dict.fromkeys(tuple(cell.bins[name] for name in names) for cell in block)
    for row, owner in zip(rows, owners, strict=True):
        for place in places:
            if all(holds(b, row[name]) for name, b in zip(names, place, strict=True)):
                inside[place].add(owner)
    kept: list[PlannedCell] = []
    for place, here in inside.items():
        terms = {name: exactly(b) for name, b in zip(names, place, strict=True)}
        if len(here) >= k_min and reachable(block, schema, Restriction(terms), k_min):
            kept.append(PlannedCell(where=write_where(terms, cells.steps), count=len(here)))
    if not kept:
        raise UsageProblem(
            f"the table must have {k_min} subjects in one cell of {', '.join(names) or 'its rows'}"
            f" that {k_min} training subjects share; found none"
        )
    num_kept = sum(cell.count or 0 for cell in kept)
    return tuple(kept), round(min(1.0, num_kept / len(set(owners))), 2)
