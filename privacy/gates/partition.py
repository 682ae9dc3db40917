"""Partition: are members resembled more often than people whom the generator never saw?"""

from privacy.attacks.partition import Partition
from privacy.evidence import GateRow, residual_excess
from privacy.gates.term import Term, TermsByRow, more, numbers_to_try, percent, row_of
from privacy.policy import Policy

_EXCESS, _P_VALUE = ("partition", "excess"), ("partition", "p_value")


def terms(policy: Policy) -> TermsByRow:
    """The terms of both rows."""
    asked = policy.partition
    return {
        _EXCESS: Term(asked.excess_at_most, "below", asked.min_controls),
        _P_VALUE: Term(asked.p_above, "above", asked.min_controls),
    }


def rows(found: Partition, policy: Policy) -> list[GateRow]:
    """The excess at the screen's threshold, and the joint p-value."""
    num_controls = found.controls[1]
    asked = terms(policy)[_EXCESS]
    excess = row_of(*_EXCESS, found.excess, num_controls, asked)
    said = (
        f"{percent(found.members[0] / found.members[1])} of members and "
        f"{percent(found.controls[0] / num_controls)} of controls are resembled; the members' "
        f"excess is at most {percent(excess.high)}, allowed {percent(asked.limit)}"
    )
    if excess.result == "INCONCLUSIVE":
        said += f"; {_controls_missing(found, asked)}"
    asked = terms(policy)[_P_VALUE]
    p = row_of(*_P_VALUE, found.p_value, num_controls, asked)
    word = "is" if p.result == "FAIL" else "is not"
    told = f"who was trained on {word} told apart by resemblance (p {found.p_value:.4f})"
    if p.result == "INCONCLUSIVE":
        told += f"; {more(asked.minimum - num_controls, 'control subjects')}"
    return [excess.because(said), p.because(told)]


def _controls_missing(found: Partition, asked: Term) -> str:
    """How many more controls, at the same shares, would bring the bound below the limit."""
    (d_t, n_t), (d_c, n_c) = found.members, found.controls
    for n in numbers_to_try(asked.minimum, n_c):
        scale = n / n_c
        members = (round(d_t * scale), round(n_t * scale))
        if residual_excess(members, (round(d_c * scale), n)).high <= asked.limit:
            return more(n - n_c, "control subjects, with train grown alike")
    return "members are resembled more often than controls, and more subjects alone will not help"
