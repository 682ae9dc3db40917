"""Consistency: detectors fitted from different seeds must flag the same scans."""

from privacy.attacks.consistency import Consistency
from privacy.evidence import GateRow
from privacy.gates.term import Term, TermsByRow, more, not_run, row_of
from privacy.policy import Policy

_KEY = ("consistency", "kappa")
_NOT_RUN = "not compared: the self-test must fit the detector from several seeds, and has not run"


def terms(policy: Policy) -> TermsByRow:
    """The terms of the one row; its n counts detectors."""
    asked = policy.consistency
    return {} if asked is None else {_KEY: Term(asked.kappa_at_least, "above", asked.num_seeds)}


def rows(found: Consistency | None, policy: Policy) -> list[GateRow]:
    """The smallest kappa of any two detectors; a check without bounds."""
    return [_row(found, asked) for asked in terms(policy).values()]


def _row(found: Consistency | None, asked: Term) -> GateRow:
    if found is None:
        return not_run(*_KEY, asked, _NOT_RUN)
    row = row_of(*_KEY, found.smallest_kappa, found.num_seeds, asked)
    said = (
        f"{found.num_seeds} detectors from different seeds flag the same of {found.num_scans} "
        f"planted and innocent scans with a kappa of {found.smallest_kappa:.3f} or more; "
        f"it must exceed {asked.limit:.2f}"
    )
    if found.num_seeds < asked.minimum:
        said += f"; {more(asked.minimum - found.num_seeds, 'detectors')}"
    return row.because(said)
