"""Self-test: what a sabotaged judge, and a cohort of copies, must come out as."""

from collections.abc import Sequence

from privacy.attacks.partition import Partition
from privacy.evidence import GateRow, rate
from privacy.gates.term import Term, TermsByRow, percent, row_of
from privacy.policy import Policy

GATE = "self_test"
COPIES, BLINDED, EMPTIED = "copies", "blinded_threshold", "emptied_index"
_ARTICLES = {BLINDED: "a", EMPTIED: "an"}


def terms(policy: Policy) -> TermsByRow:
    """The terms of all rows."""
    power = policy.screen_power.low_at_least
    return {
        (GATE, COPIES): Term(policy.partition.excess_at_most, "above", 1),
        (GATE, BLINDED): Term(power, "below", 1, is_rate=True),
        (GATE, EMPTIED): Term(power, "below", 1, is_rate=True),
    }


def rows(
    copies: Partition,
    blinded: Sequence[tuple[int, int]],
    emptied: Sequence[tuple[int, int]],
    policy: Policy,
) -> list[GateRow]:
    """Copies must fail the partition; a blinded and an emptied screen must lose their power."""
    asked = terms(policy)[GATE, COPIES]
    row = row_of(GATE, COPIES, copies.excess, copies.controls[1], asked)
    fails = "fails" if row.result == "PASS" else "does not surely fail"
    found = [
        row.because(
            f"a cohort of copies {fails} the partition: excess at least {percent(row.low)}, "
            f"limit {percent(asked.limit)}"
        )
    ]
    for kind, counts in ((BLINDED, blinded), (EMPTIED, emptied)):
        hits, planted = sum(c[0] for c in counts), sum(c[1] for c in counts)
        row = row_of(GATE, kind, rate(hits, planted), planted, terms(policy)[GATE, kind])
        loses = "loses" if row.result == "PASS" else "does not surely lose"
        sabotage = kind.replace("_", " ")
        found.append(
            row.because(
                f"with {_ARTICLES[kind]} {sabotage} the screen {loses} its power: "
                f"{hits} of {planted} copies found"
            )
        )
    return found
