"""Copying: does the cohort as a whole lie closer to members than fresh people do?"""

from math import ceil

from privacy.attacks.copying import Copying, Counts
from privacy.evidence import GateRow, Interval, residual_excess
from privacy.gates.term import Term, TermsByRow, more, not_run, numbers_to_try, percent, row_of
from privacy.policy import Policy

GATE = "copying"
_C_T, _AUTHENTICITY = (GATE, "c_t"), (GATE, "authenticity")
_RATIO, _DUPLICATES = (GATE, "ratio"), (GATE, "duplicates")
_NOT_RUN = "the cohort was not attacked as a whole; hand in its scans before screening"
_MOST_MORE = 40  # times the subjects there are


def terms(policy: Policy) -> TermsByRow:
    """The terms of all four rows; none where the policy does not ask."""
    asked = policy.copying
    if asked is None:
        return {}
    return {
        _C_T: Term(asked.p_above, "above", asked.min_controls),
        _AUTHENTICITY: Term(asked.authenticity_at_least, "above", asked.min_controls),
        _RATIO: Term(asked.ratio_at_most, "below", asked.min_synthetic),
        _DUPLICATES: Term(asked.duplicates_at_most, "below", asked.min_synthetic),
    }


def rows(found: Copying | None, policy: Policy) -> list[GateRow]:
    """A row per question."""
    asked = terms(policy)
    if found is None:
        return [not_run(*key, term, _NOT_RUN) for key, term in asked.items()]
    if not asked:
        return []
    return [
        _c_t(found, asked[_C_T]),
        _authenticity(found, asked[_AUTHENTICITY]),
        _ratio(found, asked[_RATIO]),
        _duplicates(found, asked[_DUPLICATES]),
    ]


def _c_t(found: Copying, asked: Term) -> GateRow:
    num = found.near_controls[1]
    row = row_of(*_C_T, found.p_value, num, asked)
    word = "lies" if row.result == "FAIL" else "does not visibly lie"
    said = (
        f"region by region, the cohort {word} nearer to the people trained on than to others "
        f"(C_T, p {found.p_value:.4f}, asked above {asked.limit})"
    )
    if row.result == "INCONCLUSIVE":
        said += f"; {more(asked.minimum - num, 'control subjects')}"
    return row.because(said)


def _authenticity(found: Copying, asked: Term) -> GateRow:
    num = found.near_controls[1]
    row = row_of(*_AUTHENTICITY, found.authenticity, num, asked)
    said = (
        f"judged by members instead of controls, the share of original scans changes by "
        f"{_points(found.authenticity.estimate)} points, at worst by "
        f"{_points(found.authenticity.low)}; allowed {_points(asked.limit)}"
    )
    if row.result == "INCONCLUSIVE":
        said += f"; {_people_missing(found.authenticity, num, asked)}"
    return row.because(said)


def _ratio(found: Copying, asked: Term) -> GateRow:
    row = row_of(*_RATIO, found.ratio_excess, found.near[1], asked)
    said = (
        f"{percent(_share(found.near))} of scans are more than three times nearer to one member "
        f"than to the next, of controls {percent(_share(found.near_controls))}; the excess is at "
        f"most {percent(row.high)}, allowed {percent(asked.limit)}"
    )
    if row.result == "INCONCLUSIVE":
        said += f"; {_scans_missing(found.near, found.near_controls, asked)}"
    return row.because(said)


def _duplicates(found: Copying, asked: Term) -> GateRow:
    row = row_of(*_DUPLICATES, found.duplicate_excess, found.duplicates[1], asked)
    said = (
        f"{percent(_share(found.duplicates))} of scans have a duplicate in the cohort, "
        f"{percent(_share(found.duplicate_controls))} of controls among real people; the excess "
        f"is at most {percent(row.high)}, allowed {percent(asked.limit)}"
    )
    if row.result == "INCONCLUSIVE":
        said += f"; {_scans_missing(found.duplicates, found.duplicate_controls, asked)}"
    return row.because(said)


def _share(counts: Counts) -> float:
    return counts[0] / counts[1]


def _points(difference: float) -> str:
    """A difference of shares, with its sign."""
    return f"{100 * difference:+.1f}"


def _scans_missing(cohort: Counts, controls: Counts, asked: Term) -> str:
    """How many more scans, at the same shares, would bring the bound below the limit."""
    for n in numbers_to_try(asked.minimum, cohort[1]):
        if residual_excess((round(cohort[0] * n / cohort[1]), n), controls).high <= asked.limit:
            return more(n - cohort[1], "synthetic scans")
    return "more scans alone will not help: the shares themselves leave no room, or controls lack"


def _people_missing(found: Interval, num: int, asked: Term) -> str:
    """How many more controls would narrow the bound enough; it narrows with their square root."""
    room = found.estimate - asked.limit
    if room > 0:
        wanted = max(ceil(num * ((found.estimate - found.low) / room) ** 2), asked.minimum)
        if wanted <= _MOST_MORE * num:
            return more(max(wanted - num, 1), "control subjects, with train and cohort grown alike")
    return "the difference itself leaves no room, and more subjects alone will not help"
