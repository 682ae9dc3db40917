"""Differential privacy: what the training claims, against what the policy asks.

The claim is taken as handed in; the canary audit is what can refute it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.evidence import GateRow, Interval
from privacy.gates.term import Term, TermsByRow, not_run, row_of
from privacy.policy import Policy

_EPSILON, _DELTA = ("differential_privacy", "epsilon"), ("differential_privacy", "delta")
_NO_CLAIM = (
    "the training promised no differential privacy; train with --dp, and hand in that checkpoint"
)


@dataclass(frozen=True)
class PrivacyClaim:
    """(epsilon, delta) per subject, of how many, and the parts that it does not cover."""

    epsilon: float
    delta: float
    num_subjects: int
    uncovered: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and 0 < self.delta < 1 and self.num_subjects > 0):
            raise ValueError(
                "a claim needs epsilon above 0, delta in (0, 1) and subjects, got "
                f"{self.epsilon}, {self.delta}, {self.num_subjects}"
            )

    @classmethod
    def from_statement(cls, statement: Mapping[str, Any]) -> "PrivacyClaim":
        """The claim of a checkpoint's dp.json."""
        parts = [part["what"] for part in statement["parts"] if part["status"] == "not covered"]
        return cls(
            float(statement["epsilon"]),
            float(statement["delta"]),
            int(statement["num_subjects"]),
            tuple(parts),
        )


def terms(policy: Policy) -> TermsByRow:
    """The terms of both rows, where the policy asks."""
    asked = policy.differential_privacy
    if asked is None:
        return {}
    return {
        _EPSILON: Term(asked.epsilon_at_most, "below", 1),
        _DELTA: Term(asked.delta_at_most, "below", 1),
    }


def rows(claim: PrivacyClaim | None, policy: Policy) -> list[GateRow]:
    """The claimed epsilon and delta; not run without a claim."""
    found = terms(policy)
    if claim is None:
        return [not_run(*key, asked, _NO_CLAIM) for key, asked in found.items()]
    values = {_EPSILON: claim.epsilon, _DELTA: claim.delta}
    made = [
        row_of(*key, Interval(values[key], values[key], values[key]), claim.num_subjects, asked)
        for key, asked in found.items()
    ]
    return [row.because(_said(row, claim)) for row in made]


def _said(row: GateRow, claim: PrivacyClaim) -> str:
    said = f"the training claims {row.kind} {row.estimate:.3g} per subject, allowed {row.limit:.3g}"
    if row.kind == "delta" or not claim.uncovered:
        return said
    return f"{said}; not covered: {', '.join(claim.uncovered)}"
