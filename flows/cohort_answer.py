"""What `medsynth sample` tells a person: how many scans, of what, how near to what was asked."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flows.answer import Answer
from flows.facts import Outcome, cohort_facts
from flows.summary import stage_answer
from medsynth.sample.asked import PLAN, PLAN_FILE, AskedRow, read_asked

_MOST_CELLS, _MOST_TERMS = 8, 6


def cohort_answer(outcome: Outcome) -> Answer:
    """Scans drawn, seconds for each, and what was asked beside what was drawn."""
    folder = outcome.out
    if folder is None:
        return stage_answer(outcome)
    told: dict[str, Any] = json.loads((folder / PLAN_FILE).read_text())
    count, rows = cohort_facts(outcome.stages[-1])["num_scans"], read_asked(folder)
    pace = None if outcome.reused else round(outcome.seconds["cohort"] / count, 4)
    answer = stage_answer(
        outcome,
        num_scans=count,
        seconds_per_scan=pace,
        drawn_with=told["drawn_with"],
        share_of_table=told["share_of_table"],
        asked=[{"where": row.where, "asked": row.asked, "drawn": row.drawn} for row in rows],
    )
    each = "" if pace is None else f", {pace:.2g} s each"
    lines = (
        f"{count:,} synthetic scans{each}; nobody has screened them yet",
        *_table_line(told["share_of_table"]),
        *_cell_lines([row for row in rows if row.of == PLAN]),
        *_attribute_lines([row for row in rows if row.of != PLAN]),
    )
    return replace(answer, lines=(*lines, *answer.lines))


def _table_line(share: float | None) -> tuple[str, ...]:
    if share is None:
        return ()
    return (f"{share:.0%} of the table's subjects lie in cells that may be asked for",)


def _cell_lines(rows: Sequence[AskedRow]) -> list[str]:
    """The plan's own cells, the first of them one a line."""
    lines = [f"  {_words(row.where)}: {row.drawn:,} of {row.asked:,.0f} asked" for row in rows]
    more = len(lines) - _MOST_CELLS
    return lines[:_MOST_CELLS] + ([f"  and {more:,} more cells"] if more > 0 else [])


def _attribute_lines(rows: Sequence[AskedRow]) -> list[str]:
    """A line for each attribute: what was drawn of each of its values or ranges."""
    lines = []
    for name in dict.fromkeys(row.of for row in rows):
        ours = [row for row in rows if row.of == name]
        parts = [f"{_words(row.where).removeprefix(name + '=')} {row.drawn:,}" for row in ours]
        more = ", ..." if len(parts) > _MOST_TERMS else ""
        lines.append(f"  {name}: {', '.join(parts[:_MOST_TERMS])}{more}")
    return lines


def _words(where: str) -> str:
    return where.replace("==", "=") or "every scan"
