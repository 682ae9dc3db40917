"""Extraction: do draws aimed at single members bring them back?"""

from math import ceil

from privacy.attacks.extraction import CLIQUE, Extraction
from privacy.evidence import GateRow, rate
from privacy.gates.term import Term, TermsByRow, more, not_run, percent, row_of
from privacy.policy import Policy

_KEY = ("extraction", "draws")
_NO_ACCESS = "not run: this needs a way to draw from the generator; hand in its checkpoint"
_MOST_MORE = 40  # times the draws there are; beyond that nobody plans


def terms(policy: Policy) -> TermsByRow:
    """The terms of the one row."""
    asked = policy.extraction
    if asked is None:
        return {}
    return {_KEY: Term(asked.high_at_most, "below", asked.min_draws, is_rate=True)}


def rows(found: Extraction | None, policy: Policy) -> list[GateRow]:
    """The share of draws that hit their target; without a way to draw none is run."""
    return [_row(found, asked) for asked in terms(policy).values()]


def _row(found: Extraction | None, asked: Term) -> GateRow:
    if found is None:
        return not_run(*_KEY, asked, _NO_ACCESS)
    row = row_of(*_KEY, found.bound, found.draws, asked)
    said = (
        f"{found.hits} of {found.draws} draws aimed at {found.num_targets} members bring back "
        f"their target, at most {_fine(row.high)} in truth; allowed {_fine(asked.limit)}"
    )
    return row.because(said + _missing(row, asked) + _hints(found))


def _fine(share: float | None) -> str:
    """A share so small that a tenth of a percent says nothing."""
    return percent(share) if share is None or share >= 0.01 else f"{100 * share:.3f} %"


def _missing(row: GateRow, asked: Term) -> str:
    """How many more draws an INCONCLUSIVE row lacks."""
    if row.result != "INCONCLUSIVE":
        return ""
    share, n = row.estimate or 0.0, max(asked.minimum, row.n)
    while share < asked.limit and n <= _MOST_MORE * row.n:
        if rate(ceil(share * n), n).high <= asked.limit:
            return f"; {more(n - row.n, 'draws')}"
        n = ceil(1.1 * n)
    return "; the estimate itself leaves no room, more draws alone will not help"


def _hints(found: Extraction) -> str:
    """What does not decide, but says where to look."""
    hints = []
    if found.cliques:
        hints.append(f"draws for {found.cliques} of them hold {CLIQUE} or more of one picture")
    if found.striking:
        hints.append(f"for {found.striking} the condition alone moves the generator strikingly")
    return "".join(f"; {hint}" for hint in hints)
