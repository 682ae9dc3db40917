"""Canary: how small an epsilon the twin's memory of planted scans refutes. A check: it refutes."""

from privacy.attacks.canary import CanaryAudit
from privacy.evidence import GateRow, Interval
from privacy.gates.differential_privacy import PrivacyClaim
from privacy.gates.term import Term, TermsByRow, more, not_run, row_of
from privacy.policy import Policy

_KEY = ("canary", "epsilon")
_NO_TWIN = (
    "no twin was trained with planted scans; hand in the prepared scans and the config of the "
    "training, so that it can be run once more"
)


def terms(policy: Policy) -> TermsByRow:
    """The term of the row, where the policy asks."""
    asked = policy.canary
    if asked is None:
        return {}
    return {_KEY: Term(asked.epsilon_at_most, "below", asked.min_canaries)}


def rows(
    found: CanaryAudit | None, policy: Policy, claim: PrivacyClaim | None = None
) -> list[GateRow]:
    """The bound against the policy's limit, or the claimed epsilon where that is smaller."""
    if policy.canary is None:
        return []
    asked = _with_claim(terms(policy)[_KEY], claim)
    if found is None:
        return [not_run(*_KEY, asked, _NO_TWIN)]
    bound = found.epsilon
    row = row_of(*_KEY, Interval(bound, bound, bound), found.num_canaries, asked)
    return [row.because(_said(found, row, asked, claim))]


def _with_claim(asked: Term, claim: PrivacyClaim | None) -> Term:
    limit = asked.limit if claim is None else min(asked.limit, claim.epsilon)
    return Term(limit, asked.side, asked.minimum)


def _said(found: CanaryAudit, row: GateRow, asked: Term, claim: PrivacyClaim | None) -> str:
    said = (
        f"a twin trained with about half of {found.num_canaries} planted scans let "
        f"{found.num_right} of {found.num_guesses} guesses come right at which ones it saw, which "
        f"refutes any epsilon below {found.epsilon:.2f}; allowed {asked.limit:.2f}"
    )
    if row.result == "INCONCLUSIVE":
        return f"{said}; {more(asked.minimum - found.num_canaries, 'planted scans')}"
    if row.result == "PASS":
        return f"{said}; good guesses would show a leak, bad ones do not prove that there is none"
    is_broken = claim is not None and claim.epsilon < found.epsilon
    return f"{said}; the claimed differential privacy does not hold" if is_broken else said
