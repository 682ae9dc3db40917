"""Self-test: what a broken judge, inverted gates and a cohort of copies must come out as."""

from privacy.evidence import GateRow, Interval, rate
from privacy.gates.term import Key, Term, TermsByRow, not_run, percent, row_of
from privacy.policy import Policy
from privacy.self_test.result import Counts, SelfTest

GATE = "self_test"
COPIES, GATES = (GATE, "copies"), (GATE, "inverted_gates")
BLINDED, EMPTIED = (GATE, "blinded_threshold"), (GATE, "emptied_index")
MISNORMALIZED = (GATE, "wrong_normalization")
_SABOTAGE = {
    BLINDED: "a threshold that nothing reaches",
    EMPTIED: "no real scans to compare with",
    MISNORMALIZED: "intensities cast to whole numbers",
}
_NOT_RUN = "not run: the self-test plants copies of train scans; hand in its result"


def terms(policy: Policy) -> TermsByRow:
    """The terms of all rows."""
    lost = Term(policy.screen_power.low_at_least, "below", 1, is_rate=True)
    return {
        COPIES: Term(policy.partition.excess_at_most, "above", 1),
        **dict.fromkeys(_SABOTAGE, lost),
        GATES: Term(1.0, "above", 1),
    }


def rows(found: SelfTest | None, sound: Counts, policy: Policy) -> list[GateRow]:
    """Copies must fail the partition, a broken screen must lose its power, gates must tell apart.

    `sound` counts the gates that pass what is safe and refuse what is harmful, of all.
    """
    asked = terms(policy)
    if found is None:
        return [not_run(*key, term, _NOT_RUN) for key, term in asked.items()]
    broken = {BLINDED: found.blinded, EMPTIED: found.emptied, MISNORMALIZED: found.misnormalized}
    return [
        _copies(found, asked[COPIES]),
        *(_broken(key, counts, asked[key]) for key, counts in broken.items()),
        _gates(sound, asked[GATES]),
    ]


def _copies(found: SelfTest, asked: Term) -> GateRow:
    row = row_of(*COPIES, found.copies.excess, found.copies.controls[1], asked)
    fails = "fails" if row.result == "PASS" else "does not surely fail"
    return row.because(
        f"a cohort of copies {fails} the partition: excess at least {percent(row.low)}, "
        f"limit {percent(asked.limit)}"
    )


def _broken(key: Key, counts: Counts, asked: Term) -> GateRow:
    row = row_of(*key, rate(*counts), counts[1], asked)
    loses = "loses" if row.result == "PASS" else "does not surely lose"
    return row.because(
        f"with {_SABOTAGE[key]} the screen {loses} its power: "
        f"{counts[0]} of {counts[1]} copies found"
    )


def _gates(sound: Counts, asked: Term) -> GateRow:
    share = sound[0] / sound[1]
    row = row_of(*GATES, Interval(share, share, share), sound[1], asked)
    return row.because(
        f"{sound[0]} of {sound[1]} gates pass what lies just within their limit and refuse what "
        "lies just beyond it"
    )
