"""Rejection rate: how much of a cohort the screen refused, before anything was replaced."""

from math import ceil

from privacy.evidence import GateRow, rate, rounded_up
from privacy.gates.term import Term, TermsByRow, more, numbers_to_try, percent, row_of
from privacy.policy import Policy

_KEY = ("rejection_rate", "cohort")


def terms(policy: Policy) -> TermsByRow:
    """The terms of the one row."""
    asked = policy.rejection_rate
    return {_KEY: Term(asked.high_at_most, "below", asked.min_synthetic, is_rate=True)}


def row(rejected: int, num_synthetic: int, policy: Policy) -> GateRow:
    """First-round rejections, rounded up to five before any bound."""
    shown = min(rounded_up(rejected), num_synthetic)
    asked = terms(policy)[_KEY]
    found = row_of(*_KEY, rate(shown, num_synthetic), num_synthetic, asked)
    said = (
        f"{shown} of {num_synthetic} synthetic scans rejected (rounded up to a multiple of five), "
        f"at most {percent(found.high)} in truth; allowed {percent(asked.limit)}"
    )
    if found.result == "INCONCLUSIVE":
        wanted = _scans_wanted(found.estimate or 0.0, asked, num_synthetic)
        said += f"; {more(wanted - num_synthetic, 'synthetic scans') if wanted else _HOPELESS}"
    return found.because(said)


_HOPELESS = "the estimate itself leaves no room; a larger cohort of this generator will not help"


def _scans_wanted(share: float, asked: Term, num_synthetic: int) -> int | None:
    for n in numbers_to_try(asked.minimum, num_synthetic):
        if rate(ceil(share * n), n).high <= asked.limit:
            return n
    return None
