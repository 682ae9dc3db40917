"""Releases: was everything that left before judged together with this cohort?"""

from privacy.evidence import GateRow, Interval
from privacy.gates.term import Term, TermsByRow, row_of
from privacy.policy import Policy

_KEY = ("releases", "earlier")


def terms(policy: Policy) -> TermsByRow:
    """The term of the one row, under every policy."""
    return {_KEY: Term(1.0, "above", 0)}


def row(num_cohorts: int, num_missing: int, num_scans: int, policy: Policy) -> GateRow:
    """The share of earlier cohorts whose scans were at hand."""
    share = (num_cohorts - num_missing) / num_cohorts if num_cohorts else 1.0
    found = row_of(*_KEY, Interval(share, share, share), num_cohorts, terms(policy)[_KEY])
    if not num_cohorts:
        return found.because("the ledger knows of no earlier cohort of this generator that may go")
    said = (
        f"judged together with {num_scans} scans of {num_cohorts - num_missing} earlier "
        f"{_cohorts(num_cohorts - num_missing)} of this generator"
    )
    if num_missing:
        said += (
            f"; the accepted scans of {num_missing} more {_cohorts(num_missing)} were not found: "
            "hand in their folders with --earlier"
        )
    return found.because(said)


def _cohorts(count: int) -> str:
    return "cohort" if count == 1 else "cohorts"
