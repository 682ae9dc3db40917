"""Membership: does whoever holds the weights tell members from controls?"""

from math import ceil

from privacy.attacks.membership import MIN_STRATUM, Membership
from privacy.evidence import GateRow, rate
from privacy.gates.term import Term, TermsByRow, more, not_run, numbers_to_try, percent, row_of
from privacy.policy import Policy

GATE = "membership"
AUC, WORST, TPR_1, TPR_01 = "auc", "worst_stratum", "tpr_1", "tpr_01"
MIN_CONTROLS_1 = 500  # below, 1 % of the controls are fewer than five
_NO_ACCESS = "not run: this needs a way into the generator; hand in its checkpoint"


def terms(policy: Policy) -> TermsByRow:
    """The terms of every row; the rate at .1 % only where the policy asks for it."""
    asked = policy.membership
    if asked is None:
        return {}
    found = {
        (GATE, AUC): Term(asked.auc_at_most, "below", asked.min_subjects),
        (GATE, WORST): Term(asked.worst_stratum_at_most, "below", asked.min_subjects),
        (GATE, TPR_1): Term(asked.tpr_1_at_most, "below", asked.min_subjects, is_rate=True),
    }
    if asked.tpr_01_at_most is not None:
        term = Term(asked.tpr_01_at_most, "below", asked.min_subjects, is_rate=True)
        found[GATE, TPR_01] = term
    return found


def rows(found: Membership | None, policy: Policy) -> list[GateRow]:
    """A row per kind; without a way into the generator none is run."""
    asked = terms(policy)
    if found is None:
        return [not_run(gate, kind, term, _NO_ACCESS) for (gate, kind), term in asked.items()]
    return [_row(kind, found, term, policy) for (_, kind), term in asked.items()]


def _row(kind: str, found: Membership, asked: Term, policy: Policy) -> GateRow:
    if kind == TPR_1:
        return _tpr(kind, found.hits_1, found, asked, MIN_CONTROLS_1)
    if kind == TPR_01 and policy.membership is not None:
        return _tpr(kind, found.hits_01, found, asked, policy.membership.min_controls_01)
    if kind == WORST:
        return _worst_stratum(found, asked)
    row = row_of(GATE, kind, found.auc, _num_subjects(found), asked)
    said = f"whoever holds the weights tells members from controls with {_auc(row)}"
    return row.because(said + _missing(row, found, asked))


def _worst_stratum(found: Membership, asked: Term) -> GateRow:
    if found.worst_stratum is None:
        said = f"not estimable: no stratum has {MIN_STRATUM} members and as many controls"
        return not_run(GATE, WORST, asked, said)
    row = row_of(GATE, WORST, found.worst_stratum, _num_subjects(found), asked)
    where = f"worst of {found.num_strata} strata" if found.num_strata > 1 else "only large stratum"
    said = f"in the {where} of the attributes it is {_auc(row)}"
    return row.because(said + _missing(row, found, asked))


def _tpr(kind: str, hits: int, found: Membership, asked: Term, min_controls: int) -> GateRow:
    cut = "0.1 %" if kind == TPR_01 else "1 %"
    if found.num_controls < min_controls:
        missing = more(min_controls - found.num_controls, "control subjects")
        said = f"not estimable: what {cut} of the controls exceed; {missing}"
        return not_run(GATE, kind, asked, said)
    row = row_of(GATE, kind, rate(hits, found.num_members), found.num_members, asked)
    said = (
        f"at a score that {cut} of the controls exceed, {percent(row.estimate)} of the members "
        f"are told, at most {percent(row.high)} in truth; allowed {percent(asked.limit)}"
    )
    return row.because(said + _missing(row, found, asked))


def _num_subjects(found: Membership) -> int:
    return min(found.num_members, found.num_controls)


def _auc(row: GateRow) -> str:
    return (
        f"an AUC of {row.estimate:.3f} (chance is .5), at most {row.high:.3f} in truth; "
        f"allowed {row.limit:.2f}"
    )


def _missing(row: GateRow, found: Membership, asked: Term) -> str:
    """What an INCONCLUSIVE row lacks, in words."""
    if row.result != "INCONCLUSIVE" or row.estimate is None or row.high is None:
        return ""
    wanted = _rate_wanted(row, asked) if asked.is_rate else _auc_wanted(row, row.high, asked)
    if wanted is None:
        return "; the estimate itself leaves no room, more subjects alone will not help"
    members, controls = wanted - found.num_members, wanted - found.num_controls
    lacking = [(members, "members"), (0 if asked.is_rate else controls, "control subjects")]
    return "; " + " and ".join(more(count, who) for count, who in lacking if count > 0)


def _auc_wanted(row: GateRow, high: float, asked: Term) -> int | None:
    """Subjects a group from which the bound holds; its width goes with one over the root of n."""
    estimate = row.estimate or 0.0
    if estimate >= asked.limit:
        return None
    return max(asked.minimum, ceil(row.n * ((high - estimate) / (asked.limit - estimate)) ** 2))


def _rate_wanted(row: GateRow, asked: Term) -> int | None:
    """Members from which the bound holds at the same rate."""
    share = row.estimate or 0.0
    sizes = numbers_to_try(asked.minimum, row.n) if share < asked.limit else range(0)
    return next((n for n in sizes if rate(ceil(share * n), n).high <= asked.limit), None)
