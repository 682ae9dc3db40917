"""All families of gates: which rows a policy binds, and how a stored row is judged again."""

from privacy.evidence import GateRow, decide, rate
from privacy.gates import (
    attributes,
    canary,
    consistency,
    copying,
    differential_privacy,
    extraction,
    membership,
    partition,
    power,
    rejection,
    releases,
    self_test,
)
from privacy.gates.power import hold_back
from privacy.gates.term import Key, TermsByRow
from privacy.policy import Policy

_FAMILIES = (
    power,
    consistency,
    rejection,
    partition,
    copying,
    attributes,
    extraction,
    membership,
    canary,
    differential_privacy,
    releases,
    self_test,
)


def all_terms(policy: Policy) -> TermsByRow:
    """The terms of every row that a policy binds, in the order of a certificate."""
    return {key: term for family in _FAMILIES for key, term in family.terms(policy).items()}


def row_keys(policy: Policy) -> set[Key]:
    """(gate, kind) of every row that a policy binds."""
    return set(all_terms(policy))


def judged_again(row: GateRow, policy: Policy, num_missing: int) -> GateRow:
    """The row's result from its estimate, n and the policy's limit; KeyError for a strange row."""
    asked = all_terms(policy)[row.gate, row.kind]
    low, high = row.low, row.high
    if asked.is_rate and row.estimate is not None and low is not None:
        again = rate(round(row.estimate * row.n), row.n)
        low, high = again.low, again.high
    result = decide(
        row.gate, row.estimate, low, high,
        n=row.n, limit=asked.limit, side=asked.side, minimum=asked.minimum,
    )  # fmt: skip
    fields = {"low": low, "high": high, "limit": asked.limit, "side": asked.side, "result": result}
    return hold_back(GateRow(**{**row.to_json(), **fields}), num_missing)
