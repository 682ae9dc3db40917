"""Power of the screen: planted copies it finds, must-catch kinds and hard ones."""

from collections.abc import Mapping

from privacy.evidence import GateRow, rate
from privacy.gates.term import Term, TermsByRow, more, not_run, percent, row_of
from privacy.policy import Policy

POWER, HARD = "screen_power", "screen_power_hard"


def terms(policy: Policy) -> TermsByRow:
    """The terms of every kind."""
    must, hard = policy.screen_power, policy.screen_power_hard
    found = {
        (POWER, kind): Term(must.low_at_least, "above", must.num_planted, is_rate=True)
        for kind in must.must_catch
    }
    if hard is not None:
        term = Term(hard.low_at_least, "above", hard.num_planted, is_rate=True)
        found |= {(HARD, kind): term for kind in hard.kinds}
    return found


def rows(
    found: Mapping[str, tuple[int, int] | str], policy: Policy, num_missing: int
) -> list[GateRow]:
    """A row per kind from (found, planted), or from why the kind could not be planted."""
    return [
        _row(gate, kind, found[kind], asked, num_missing)
        for (gate, kind), asked in terms(policy).items()
    ]


def _row(
    gate: str, kind: str, counts: tuple[int, int] | str, asked: Term, num_missing: int
) -> GateRow:
    if isinstance(counts, str):
        return not_run(gate, kind, asked, counts)
    hits, planted = counts
    row = hold_back(row_of(gate, kind, rate(hits, planted), planted, asked), num_missing)
    said = (
        f"{hits} of {planted} planted copies found, so at least {percent(row.low)} of them all; "
        f"asked {percent(asked.limit)}"
    )
    if num_missing:
        said += f"; no threshold holds yet: {more(num_missing, 'calibration subjects')}"
    elif planted < asked.minimum:
        said += f"; {more(asked.minimum - planted, 'train scans to plant')}"
    return row.because(said)


def hold_back(row: GateRow, num_missing: int) -> GateRow:
    """Without enough calibration subjects there is no threshold, and so no power."""
    if num_missing and row.gate in (POWER, HARD) and row.result == "PASS":
        return GateRow(**{**row.to_json(), "result": "INCONCLUSIVE"})
    return row
