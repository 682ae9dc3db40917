"""The gates: measured counts against a policy's limits, with the reason in plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from privacy.attacks.partition import Partition
from privacy.evidence import (
    GateRow,
    Interval,
    Side,
    decide,
    judge,
    rate,
    residual_excess,
    rounded_up,
)
from privacy.policy import Policy

EXCESS, P_VALUE = "excess", "p_value"
COPIES, BLINDED, EMPTIED = "copies", "blinded_threshold", "emptied_index"
SELF_TESTS = (COPIES, BLINDED, EMPTIED)
_ARTICLES = {BLINDED: "a", EMPTIED: "an"}
_MOST_MORE = 40  # times the subjects there are; beyond that nobody plans


@dataclass(frozen=True)
class Term:
    """What a policy asks of one gate and kind."""

    limit: float
    side: Side
    minimum: int


def term(policy: Policy, gate: str, kind: str) -> Term:
    """The limit of a row; raises KeyError for a row that no policy knows."""
    power, partition = policy.screen_power, policy.partition
    terms = {
        ("rejection_rate", "cohort"): Term(
            policy.rejection_rate.high_at_most, "below", policy.rejection_rate.min_synthetic
        ),
        ("partition", EXCESS): Term(partition.excess_at_most, "below", partition.min_controls),
        ("partition", P_VALUE): Term(partition.p_above, "above", partition.min_controls),
        ("self_test", COPIES): Term(partition.excess_at_most, "above", 1),
        ("self_test", BLINDED): Term(power.low_at_least, "below", 1),
        ("self_test", EMPTIED): Term(power.low_at_least, "below", 1),
    }
    for name in power.must_catch:
        terms["screen_power", name] = Term(power.low_at_least, "above", power.num_planted)
    return terms[gate, kind]


def row_kinds(policy: Policy) -> set[tuple[str, str]]:
    """Every (gate, kind) that a policy binds."""
    bound = {("rejection_rate", "cohort"), ("partition", EXCESS), ("partition", P_VALUE)}
    bound |= {("self_test", kind) for kind in SELF_TESTS}
    return bound | {("screen_power", kind) for kind in policy.screen_power.must_catch}


def _judge(
    policy: Policy, gate: str, kind: str, measured: Interval | float, n: int
) -> tuple[GateRow, Term]:
    asked = term(policy, gate, kind)
    row = judge(gate, kind, measured, n, limit=asked.limit, side=asked.side, minimum=asked.minimum)
    return row, asked


def power_rows(
    found: Mapping[str, tuple[int, int] | None], policy: Policy, num_missing: int
) -> list[GateRow]:
    """A row per must-catch kind from (found, planted); None where the kind could not be planted."""
    return [
        _power_row(kind, found[kind], policy, num_missing)
        for kind in policy.screen_power.must_catch
    ]


def _power_row(
    kind: str, counts: tuple[int, int] | None, policy: Policy, num_missing: int
) -> GateRow:
    if counts is None:
        limit = policy.screen_power.low_at_least
        reason = "not planted: this kind needs the generator's autoencoder; hand in its checkpoint"
        return GateRow("screen_power", kind, None, None, None, 0, limit, "above", "NOT_RUN", reason)
    hits, planted = counts
    row, asked = _judge(policy, "screen_power", kind, rate(hits, planted), planted)
    row = hold_back(row, num_missing)
    said = (
        f"{hits} of {planted} planted copies found, so at least {_percent(row.low)} of them all; "
        f"asked {_percent(asked.limit)}"
    )
    if num_missing:
        said += f"; no threshold holds yet: {num_missing} more calibration subjects"
    elif planted < asked.minimum:
        said += f"; {asked.minimum - planted} more train scans to plant"
    return row.because(said)


def hold_back(row: GateRow, num_missing: int) -> GateRow:
    """Without enough calibration subjects there is no threshold, and so no power."""
    if num_missing and row.gate == "screen_power" and row.result == "PASS":
        return GateRow(**{**row.to_json(), "result": "INCONCLUSIVE"})
    return row


def rejection_row(rejected: int, num_synthetic: int, policy: Policy) -> GateRow:
    """First-round rejections, rounded up to five before any bound."""
    shown = min(rounded_up(rejected), num_synthetic)
    row, asked = _judge(
        policy, "rejection_rate", "cohort", rate(shown, num_synthetic), num_synthetic
    )
    said = (
        f"{shown} of {num_synthetic} synthetic scans rejected (rounded up to a multiple of five), "
        f"at most {_percent(row.high)} in truth; allowed {_percent(asked.limit)}"
    )
    if row.result == "INCONCLUSIVE":
        wanted = _scans_wanted(row.estimate or 0.0, asked, num_synthetic)
        said += f"; {_more(wanted - num_synthetic, 'synthetic scans') if wanted else _HOPELESS}"
    return row.because(said)


_HOPELESS = "the estimate itself leaves no room; a larger cohort of this generator will not help"


def _scans_wanted(share: float, asked: Term, num_synthetic: int) -> int | None:
    for n in range(max(asked.minimum, num_synthetic), _MOST_MORE * num_synthetic + 1000, 5):
        if rate(ceil(share * n), n).high <= asked.limit:
            return n
    return None


def partition_rows(found: Partition, policy: Policy) -> list[GateRow]:
    """The excess at the screen's threshold, and the joint p-value."""
    num_controls = found.controls[1]
    excess, asked = _judge(policy, "partition", EXCESS, found.excess, num_controls)
    said = (
        f"{_percent(found.members[0] / found.members[1])} of members and "
        f"{_percent(found.controls[0] / num_controls)} of controls are resembled; the members' "
        f"excess is at most {_percent(excess.high)}, allowed {_percent(asked.limit)}"
    )
    if excess.result == "INCONCLUSIVE":
        said += f"; {_controls_missing(found, asked)}"
    p, asked = _judge(policy, "partition", P_VALUE, found.p_value, num_controls)
    word = "is" if p.result == "FAIL" else "is not"
    told = f"who was trained on {word} told apart by resemblance (p {found.p_value:.4f})"
    if p.result == "INCONCLUSIVE":
        told += f"; {_more(asked.minimum - num_controls, 'control subjects')}"
    return [excess.because(said), p.because(told)]


def _controls_missing(found: Partition, asked: Term) -> str:
    """How many more controls, at the same shares, would bring the bound below the limit."""
    (d_t, n_t), (d_c, n_c) = found.members, found.controls
    for n in range(max(asked.minimum, n_c), _MOST_MORE * n_c, 5):
        scale = n / n_c
        members = (round(d_t * scale), round(n_t * scale))
        if residual_excess(members, (round(d_c * scale), n)).high <= asked.limit:
            return _more(n - n_c, "control subjects, with train grown alike")
    return "members are resembled more often than controls, and more subjects alone will not help"


def self_test_rows(
    copies: Partition,
    blinded: Sequence[tuple[int, int]],
    emptied: Sequence[tuple[int, int]],
    policy: Policy,
) -> list[GateRow]:
    """Copies must fail the partition; a blinded and an emptied screen must lose their power."""
    row, asked = _judge(policy, "self_test", COPIES, copies.excess, copies.controls[1])
    fails = "fails" if row.result == "PASS" else "does not surely fail"
    rows = [
        row.because(
            f"a cohort of copies {fails} the partition: excess at least {_percent(row.low)}, "
            f"limit {_percent(asked.limit)}"
        )
    ]
    for kind, counts in ((BLINDED, blinded), (EMPTIED, emptied)):
        hits, planted = sum(c[0] for c in counts), sum(c[1] for c in counts)
        row, asked = _judge(policy, "self_test", kind, rate(hits, planted), planted)
        loses = "loses" if row.result == "PASS" else "does not surely lose"
        sabotage = kind.replace("_", " ")
        rows.append(
            row.because(
                f"with {_ARTICLES[kind]} {sabotage} the screen {loses} its power: "
                f"{hits} of {planted} copies found"
            )
        )
    return rows


def judged_again(row: GateRow, policy: Policy, num_missing: int) -> GateRow:
    """The row's result from its estimate, n and the policy's limit; KeyError for a strange row."""
    asked = term(policy, row.gate, row.kind)
    low, high = row.low, row.high
    is_rate = (row.gate, row.kind) not in {("partition", EXCESS), ("self_test", COPIES)}
    if is_rate and row.estimate is not None and low is not None:
        again = rate(round(row.estimate * row.n), row.n)
        low, high = again.low, again.high
    result = decide(
        row.gate, row.estimate, low, high,
        n=row.n, limit=asked.limit, side=asked.side, minimum=asked.minimum,
    )  # fmt: skip
    fields = {"low": low, "high": high, "limit": asked.limit, "side": asked.side, "result": result}
    return hold_back(GateRow(**{**row.to_json(), **fields}), num_missing)


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f} %"


def _more(count: int, what: str) -> str:
    return f"{count} more {what}"
