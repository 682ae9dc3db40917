"""What every family of gates has: terms of a policy by row, and words for numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from privacy.evidence import GateRow, Interval, Side, judge

Key = tuple[str, str]
"""Gate and kind: what names a row."""
_MOST_MORE = 40  # times the subjects there are; beyond that nobody plans


@dataclass(frozen=True)
class Term:
    """What a policy asks of one row.

    `is_rate` says that its bounds follow from the estimate and n alone, so that anyone can work
    them out again.
    """

    limit: float
    side: Side
    minimum: int
    is_rate: bool = False


TermsByRow = Mapping[Key, Term]


def row_of(gate: str, kind: str, measured: Interval | float, n: int, asked: Term) -> GateRow:
    """The row of what was measured on n; its reason is still empty."""
    return judge(gate, kind, measured, n, limit=asked.limit, side=asked.side, minimum=asked.minimum)


def not_run(gate: str, kind: str, asked: Term, reason: str) -> GateRow:
    """The row of what could not be measured, and why."""
    return GateRow(gate, kind, None, None, None, 0, asked.limit, asked.side, "NOT_RUN", reason)


def percent(share: float | None) -> str:
    """A share in words."""
    return "unknown" if share is None else f"{100 * share:.1f} %"


def more(count: int, what: str) -> str:
    """How many more of something are missing."""
    return f"{count} more {what}"


def numbers_to_try(start: int, present: int) -> range:
    """Sizes of a larger study, as far as anybody plans one."""
    return range(max(start, present), _MOST_MORE * present + 1000, 5)
