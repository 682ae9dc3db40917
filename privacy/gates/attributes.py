"""Attributes: does the exported table, or a reader trained on the cohort, give members away?"""

from collections.abc import Callable

from privacy.attacks.attributes.cells import Company
from privacy.attacks.attributes.disclosure import Disclosure
from privacy.attacks.attributes.image_to_attribute import ReadAll
from privacy.attacks.attributes.inference import Inferred
from privacy.evidence import GateRow, Interval
from privacy.gates.term import Term, TermsByRow, more, not_run, numbers_to_try, percent, row_of
from privacy.policy import Policy

GATE = "attributes"
SINGLING_OUT, INFERENCE, IMAGES, CELLS = "singling_out", "inference", "image_to_attribute", "cells"
_NO_CONTROLS = "not run: hand in the attributes of the synthetic scans, of members and of controls"
_NO_ATTRIBUTES = "not run: the cohort carries no attribute that members and controls have, too"
_NO_DESCRIPTION = "not run: no description fits one synthetic scan alone; hand in a larger cohort"
_NO_CELLS = "not run: hand in the cells of attributes that the requests were drawn from"
_HOPELESS = "members are given away more often than controls; more subjects alone will not help"

Grown = Callable[[float], Interval]
"""The interval that so many times the subjects would give, if all shares stayed."""


def terms(policy: Policy) -> TermsByRow:
    """The terms of every row."""
    asked = policy.attributes
    if asked is None:
        return {}
    return {
        (GATE, SINGLING_OUT): Term(asked.risk_at_most, "below", asked.min_attacks),
        (GATE, INFERENCE): Term(asked.risk_at_most, "below", asked.min_attacks),
        (GATE, IMAGES): Term(asked.gap_at_most, "below", asked.min_attacks),
        (GATE, CELLS): Term(float(policy.k_min - 1), "above", 1),
    }


def rows(found: Disclosure | None, policy: Policy) -> list[GateRow]:
    """A row per sort of attack, and one for the company of the vectors asked for."""
    asked = terms(policy)
    if not asked or found is None:
        return [not_run(*key, term, _NO_CONTROLS) for key, term in asked.items()]
    return [
        _singling_out(found, asked[GATE, SINGLING_OUT]),
        _inference(found.inference, found.num_controls, asked[GATE, INFERENCE]),
        _images(found.images, found.num_controls, asked[GATE, IMAGES]),
        _cells(found.company, asked[GATE, CELLS]),
    ]


def _singling_out(found: Disclosure, asked: Term) -> GateRow:
    """The sort of predicates with the highest bound speaks for all: each must hold."""
    if not found.singling_out:
        return not_run(GATE, SINGLING_OUT, asked, _NO_DESCRIPTION)
    worst = max(found.singling_out, key=lambda tries: tries.risk().high)
    num_tries = min(tries.num_tries for tries in found.singling_out)
    row = row_of(GATE, SINGLING_OUT, worst.risk(), num_tries, asked)
    said = (
        f"of {worst.num_tries} {worst.name} descriptions that fit one synthetic scan alone, "
        f"{percent(worst.members.value)} fit one member alone and {percent(worst.controls.value)} "
        f"one control; the excess is at most {percent(row.high)}, allowed {percent(asked.limit)}"
    )
    wanted = _missing(row, asked, found.num_controls, lambda factor: worst.grown(factor).risk())
    return row.because(said + wanted)


def _inference(found: Inferred | None, num_controls: int, asked: Term) -> GateRow:
    """All secrets together; one of them where it alone is surely beyond the limit."""
    if found is None:
        return not_run(GATE, INFERENCE, asked, _NO_ATTRIBUTES)
    tries, risk = found.worst
    if risk.low <= asked.limit:
        tries, risk = found.pooled, found.pooled.risk()
    row = row_of(GATE, INFERENCE, risk, tries.num_tries, asked)
    said = (
        f"guessing {_what(tries.name)} from the nearest synthetic scan is right for "
        f"{percent(tries.members.value)} of members and {percent(tries.controls.value)} of "
        f"controls; the excess is at most {percent(row.high)}, allowed {percent(asked.limit)}"
    )
    wanted = _missing(row, asked, num_controls, lambda factor: tries.grown(factor).risk())
    return row.because(said + wanted)


def _images(found: ReadAll | None, num_controls: int, asked: Term) -> GateRow:
    """All attributes together; one of them where it alone is surely beyond the limit."""
    if found is None:
        return not_run(GATE, IMAGES, asked, _NO_ATTRIBUTES)
    read, gap = found.worst
    if gap.low <= asked.limit:
        read, gap = found.pooled, found.pooled.gap()
    row = row_of(GATE, IMAGES, gap, read.tries.num_tries, asked)
    said = (
        f"a reader trained on the cohort reads {_what(read.tries.name)} right in "
        f"{percent(read.tries.members.value)} of members and {percent(read.tries.controls.value)} "
        f"of controls; beyond chance that is {percent(row.high)} at most, "
        f"allowed {percent(asked.limit)}"
    )
    wanted = _missing(row, asked, num_controls, lambda factor: read.grown(factor).gap())
    return row.because(said + wanted)


def _what(name: str) -> str:
    return "an attribute" if name == "all" else name


def _cells(found: Company | None, asked: Term) -> GateRow:
    """A number of subjects below the limit is not told: it is shown as zero."""
    if found is None:
        return not_run(GATE, CELLS, asked, _NO_CELLS)
    fewest = found.fewest_subjects if found.fewest_subjects > asked.limit else 0
    row = row_of(GATE, CELLS, float(fewest), found.num_exported, asked)
    k = round(asked.limit) + 1
    if row.result == "FAIL":
        return row.because(f"some synthetic scans were asked for what fewer than {k} members share")
    return row.because(f"what each synthetic scan was asked for is shared by {k} members or more")


def _missing(row: GateRow, asked: Term, num_controls: int, grown: Grown) -> str:
    """What an INCONCLUSIVE row lacks: tries, or controls for a narrower bound."""
    if row.result != "INCONCLUSIVE":
        return ""
    if row.n < asked.minimum:
        return f"; {more(asked.minimum - row.n, 'tries are needed: hand in a larger cohort')}"
    for n in numbers_to_try(num_controls, num_controls):
        if grown(n / num_controls).high <= asked.limit:
            return f"; {more(n - num_controls, 'control subjects, with train grown alike')}"
    return f"; {_HOPELESS}"
