"""Whether a candidate may take its source's place: nothing worse beyond its interval, and a gain.

A metric is worse where the whole interval of the candidate lies on the bad side of its limit: what
the source has, and for MMD and agreement 5 % more of the source's own distance from the floor.
What is better than real scans are among themselves is never asked for, but for coverage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from medsynth.compress.cost import Cost
from medsynth.evaluate.metrics import Metric

Metrics = Mapping[str, Metric]
Result = Literal["holds", "worse", "unknown"]

LOWER = (
    "mmd_reader",
    "mmd_frozen",
    "two_sample_auc",
    "similarity_ratio",
    "rejected",
    "members_excess",
)
"""Metrics that are better when lower."""
HIGHER = ("precision", "recall", "density", "coverage")
"""Metrics that are better when higher, as is every agreement."""
TOLERANT = ("mmd_", "agreement_")
WITHOUT_FLOOR = ("coverage", "rejected", "members_excess")
"""Where the source itself is the limit."""
NEEDED = ("mmd_frozen", "coverage", "rejected", "members_excess")
"""What must be known of both before anything is accepted."""


class GateConfig(BaseModel):
    """How much may be lost, and what must be gained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: float = Field(default=0.05, ge=0)
    """Share of the source's distance from the floor that MMD and agreement may lose."""
    gain: float = Field(default=0.1, ge=0, lt=1)
    """Share of bytes or of seconds a scan that must be saved."""


@dataclass(frozen=True)
class Check:
    """One metric of source and candidate, its limit, and what follows."""

    name: str
    source: Metric
    candidate: Metric
    limit: float | None
    result: Result


@dataclass(frozen=True)
class Tried:
    """A candidate beside its source; `speedup` is the ratio of their seconds, with its spread."""

    cost: Cost
    speedup: Metric
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reasons


def try_candidate(
    costs: tuple[Cost, Cost],
    speedup: Metric,
    metrics: tuple[Metrics, Metrics],
    config: GateConfig,
) -> Tried:
    """Judge a candidate by (source's, candidate's) costs and metrics."""
    checks = compare_metrics(*metrics, config.tolerance)
    reasons = (*_faults(checks), *_missed_gain(costs, speedup, config.gain))
    return Tried(costs[1], speedup, checks, reasons)


def compare_metrics(source: Metrics, candidate: Metrics, tolerance: float) -> tuple[Check, ...]:
    """A check for every metric that the source has and that decides."""
    agreements = sorted(name for name in source if name.startswith("agreement_"))
    names = [name for name in (*LOWER, *HIGHER) if name in source] + agreements
    return tuple(
        _check(name, source[name], candidate.get(name, Metric()), tolerance) for name in names
    )


def _check(name: str, source: Metric, candidate: Metric, tolerance: float) -> Check:
    limit = limit_of(name, source, tolerance)
    if limit is None and name not in NEEDED:
        return Check(name, source, candidate, None, "holds")
    bound = candidate.low if name in LOWER else candidate.high
    if limit is None or bound is None or candidate.value is None:
        return Check(name, source, candidate, limit, "unknown")
    is_worse = bound > limit if name in LOWER else bound < limit
    return Check(name, source, candidate, limit, "worse" if is_worse else "holds")


def limit_of(name: str, source: Metric, tolerance: float) -> float | None:
    """The worst value that is no worse than the source; None where the source's is unknown."""
    value, floor = source.value, source.floor
    if value is None or name in WITHOUT_FLOOR or floor is None:
        return value
    share = 1 + tolerance * name.startswith(TOLERANT)
    if name in LOWER:
        return floor + share * max(0.0, value - floor)
    return floor - share * max(0.0, floor - value)


def _faults(checks: Sequence[Check]) -> list[str]:
    known = {check.name for check in checks}
    worse = [f"{check.name} is worse" for check in checks if check.result == "worse"]
    unknown = [check.name for check in checks if check.result == "unknown"]
    unknown += [name for name in NEEDED if name not in known]
    return worse + [f"{name} is unknown: too few scans" for name in unknown]


def _missed_gain(costs: tuple[Cost, Cost], speedup: Metric, gain: float) -> list[str]:
    source, candidate = costs
    is_smaller = candidate.num_bytes <= (1 - gain) * source.num_bytes
    is_faster = speedup.low is not None and speedup.low >= 1 / (1 - gain)
    if is_smaller or is_faster:
        return []
    return [f"neither {gain:.0%} smaller nor {gain:.0%} faster than its source"]
