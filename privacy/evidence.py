"""Measured numbers with their bounds, and the rule that turns one into PASS, FAIL or INCONCLUSIVE.

All bounds are one-sided, 95 %. Rates: Clopper & Pearson, Biometrika 1934. Residual excess: one
minus a ratio of proportions, by MOVER-R (Donner & Zou, Stat. Methods Med. Res. 2012) on Wilson
bounds.
"""

from dataclasses import asdict, dataclass, replace
from math import ceil, sqrt
from typing import Any, Literal

from scipy import stats

CONFIDENCE = 0.95
ROUNDING = 5
NEVER_FAIL = ("screen_power", "screen_power_hard", "consistency", "releases", "self_test")

Result = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT_RUN"]
Side = Literal["below", "above"]


@dataclass(frozen=True)
class Interval:
    """An estimate between its one-sided bounds."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class GateRow:
    """One gate and kind: what was measured, on how many, against which limit, and what follows.

    `side` says on which side of the limit the truth must lie. A p-value has no bounds.
    """

    gate: str
    kind: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    limit: float
    side: Side
    result: Result
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The row as CONTRACTS.md writes it."""
        return asdict(self)

    def because(self, reason: str) -> "GateRow":
        """The same row with its reason in words."""
        return replace(self, reason=reason)


def rate(successes: int, trials: int) -> Interval:
    """A proportion with exact bounds."""
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie in [0, {trials}], got {successes}")
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    beta, misses = stats.beta, trials - successes
    low = float(beta.ppf(1 - CONFIDENCE, successes, misses + 1)) if successes else 0.0
    high = float(beta.ppf(CONFIDENCE, successes + 1, misses)) if misses else 1.0
    return Interval(successes / trials, low, high)


def wilson(successes: int, trials: int) -> Interval:
    """A proportion with Wilson's score bounds."""
    z = float(stats.norm.ppf(CONFIDENCE))
    share, denominator = successes / trials, 1 + z * z / trials
    center = (share + z * z / (2 * trials)) / denominator
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / denominator
    return Interval(share, max(center - half, 0.0), min(center + half, 1.0))


def residual_excess(members: tuple[int, int], controls: tuple[int, int]) -> Interval:
    """(p_members - p_controls) / (1 - p_controls) from (hits, subjects) of both groups."""
    safe_members = wilson(members[1] - members[0], members[1])
    safe_controls = wilson(controls[1] - controls[0], controls[1])
    if safe_controls.estimate == 0:
        return Interval(0.0, -1.0, 1.0)
    low, high = _ratio_bounds(safe_members, safe_controls)
    return Interval(1 - safe_members.estimate / safe_controls.estimate, 1 - high, 1 - low)


def _ratio_bounds(top: Interval, bottom: Interval) -> tuple[float, float]:
    a, b = top.estimate, bottom.estimate
    under = max((a * b) ** 2 - top.low * bottom.high * (2 * a - top.low) * (2 * b - bottom.high), 0)
    over = max((a * b) ** 2 - top.high * bottom.low * (2 * a - top.high) * (2 * b - bottom.low), 0)
    low = (a * b - sqrt(under)) / (bottom.high * (2 * b - bottom.high))
    high = (a * b + sqrt(over)) / (bottom.low * (2 * b - bottom.low))
    return low, high


def rounded_up(count: int) -> int:
    """The count as it may leave: the next multiple of five, 0 stays 0."""
    return ROUNDING * ceil(count / ROUNDING)


def judge(
    gate: str,
    kind: str,
    measured: Interval | float,
    n: int,
    *,
    limit: float,
    side: Side,
    minimum: int,
) -> GateRow:
    """The row of a measured interval, or of a p-value; its reason is still empty."""
    low = measured.low if isinstance(measured, Interval) else None
    high = measured.high if isinstance(measured, Interval) else None
    estimate = measured.estimate if isinstance(measured, Interval) else measured
    result = decide(gate, estimate, low, high, n=n, limit=limit, side=side, minimum=minimum)
    return GateRow(gate, kind, estimate, low, high, n, limit, side, result, "")


def decide(
    gate: str,
    estimate: float | None,
    low: float | None,
    high: float | None,
    *,
    n: int,
    limit: float,
    side: Side,
    minimum: int,
) -> Result:
    """The gate logic, in its order: FAIL at any n, then too few, then PASS, else INCONCLUSIVE."""
    if estimate is None:
        return "NOT_RUN"
    if low is None or high is None:
        is_failed, is_safe = estimate <= limit, estimate > limit
    elif side == "below":
        is_failed, is_safe = low > limit, high <= limit
    else:
        is_failed, is_safe = high < limit, low >= limit
    if is_failed and gate not in NEVER_FAIL:
        return "FAIL"
    return "PASS" if is_safe and n >= minimum else "INCONCLUSIVE"
