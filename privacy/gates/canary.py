"""Canary: how small an epsilon the twin's memory of planted scans refutes. A check: it refutes."""

from privacy.attacks.canary import CanaryAudit
from privacy.evidence import GateRow, Interval
from privacy.gates.differential_privacy import PrivacyClaim
from privacy.gates.term import Term, TermsByRow, more, not_run, row_of
from privacy.policy import Policy

GATE = "canary"
_EPSILON, _BEYOND = (GATE, "epsilon"), (GATE, "beyond_claim")
_NO_TWIN = (
    "no twin was trained with planted scans; hand in the prepared scans and the checkpoint, so "
    "that its training can be run once more"
)
_NO_CLAIM = "the training promised no epsilon that a twin could refute; train with --dp"


def terms(policy: Policy) -> TermsByRow:
    """The terms of both rows; the claim's only where the policy asks for differential privacy."""
    asked = policy.canary
    if asked is None:
        return {}
    found = {_EPSILON: Term(asked.epsilon_at_most, "below", asked.min_canaries)}
    if policy.differential_privacy is not None:
        found[_BEYOND] = Term(0.0, "below", asked.min_canaries)
    return found


def rows(
    found: CanaryAudit | None, policy: Policy, claim: PrivacyClaim | None = None
) -> list[GateRow]:
    """The bound against the policy's limit, and how far it lies beyond the claimed epsilon."""
    asked = terms(policy)
    made = []
    if _EPSILON in asked:
        made.append(_epsilon(found, asked[_EPSILON], claim))
    if _BEYOND in asked:
        made.append(_beyond(found, asked[_BEYOND], claim))
    return made


def _epsilon(found: CanaryAudit | None, asked: Term, claim: PrivacyClaim | None) -> GateRow:
    if found is None:
        return not_run(*_EPSILON, asked, _NO_TWIN)
    row = row_of(*_EPSILON, _point(found.epsilon), found.num_canaries, asked)
    said = (
        f"a twin trained with about half of {found.num_canaries} planted scans let "
        f"{found.num_right} of {found.num_guesses} guesses come right at which ones it saw, which "
        f"refutes any epsilon below {found.epsilon:.2f}; allowed {asked.limit:.2f}"
    )
    if row.result == "PASS":
        said += "; good guesses would show a leak, bad ones do not prove that there is none"
    if claim is not None and claim.epsilon < found.epsilon:
        said += "; the claimed differential privacy does not hold"
    return row.because(said + _missing(row, asked))


def _beyond(found: CanaryAudit | None, asked: Term, claim: PrivacyClaim | None) -> GateRow:
    if found is None or claim is None:
        return not_run(*_BEYOND, asked, _NO_TWIN if found is None else _NO_CLAIM)
    beyond = found.epsilon - claim.epsilon
    row = row_of(*_BEYOND, _point(beyond), found.num_canaries, asked)
    holds = "does not hold" if row.result == "FAIL" else "is not refuted"
    said = (
        f"the training claims epsilon {claim.epsilon:.2f}, the twin's guesses refute any below "
        f"{found.epsilon:.2f}: the claim {holds}"
    )
    return row.because(said + _missing(row, asked))


def _point(value: float) -> Interval:
    """A bound stands alone."""
    return Interval(value, value, value)


def _missing(row: GateRow, asked: Term) -> str:
    if row.result != "INCONCLUSIVE":
        return ""
    return f"; {more(asked.minimum - row.n, 'planted scans')}"
