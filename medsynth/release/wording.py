"""Numbers, gates and metrics in words, as the report shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from medsynth.core.schema import AttributeValue
from medsynth.evaluate.achieved import Achieved
from medsynth.evaluate.metrics import Metric
from medsynth.release.charts import interval_chart
from medsynth.sample.asked import PLAN

UNKNOWN = "\N{EN DASH}"

_METRICS = {
    "mmd_reader": "difference from real scans, in what the readers see (MMD²); lower is better",
    "mmd_frozen": "difference from real scans, in untrained features (MMD²); lower is better",
    "precision": "share of synthetic scans that lie among real ones",
    "recall": "share of real scans that lie among synthetic ones",
    "density": "how crowded with real scans the synthetic ones' places are",
    "coverage": "share of real scans with a synthetic one close by",
    "similarity_ratio": "likeness of synthetic pairs over likeness of real pairs; "
    "above 1 repeats itself",
    "two_sample_auc": "how well a small network tells these scans from held-out real ones "
    "(area under the curve); 0.5 is not at all",
}
_ROUND_TRIP = "round_trip_"
_SCORES = {
    "_balanced_accuracy": "{} read rightly, every class weighing the same",
    "_mae": "mean error of {} as read against {} as asked; lower is better",
    "_auc": "how well {} can be told apart (area under the curve)",
    "_dice": "overlap of {} as asked and as read off the scan (Dice)",
    "_r": "correlation of {} as asked and as read",
}


def number(value: float | int | None) -> str:
    """A number for people to read: three digits that matter."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int) or abs(value) >= 1000:  # counts
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def attribute_words(name: str, value: AttributeValue) -> str:
    """An attribute and its value."""
    if value is None:
        return f"{name} {UNKNOWN}"
    if not isinstance(value, float):
        return f"{name} {value}"
    return f"{name} {value:,.0f}" if abs(value) >= 1000 else f"{name} {value:.4g}"


def gate_row(gate: Mapping[str, Any]) -> dict[str, str]:
    """A gate of the audit output as the cells of a table."""
    limit, side = gate.get("limit"), "≤" if gate.get("side") == "below" else "≥"
    return {
        "name": _gate_name(gate),
        "result": str(gate["result"]),
        "estimate": number(gate.get("estimate")),
        "bounds": interval_words(gate.get("low"), gate.get("high")),
        "limit": UNKNOWN if limit is None else f"{side} {number(limit)}",
        "n": number(gate.get("n")),
        "reason": str(gate.get("reason") or ""),
    }


def missing_words(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each gate that stands between a cohort and a PASS."""
    return [
        f"{_gate_name(gate)}: {gate.get('reason') or gate['result']}"
        for gate in gates
        if gate["result"] in ("FAIL", "INCONCLUSIVE")
    ]


def metric_row(name: str, metric: Metric) -> dict[str, Any]:
    """A metric as the cells of a table."""
    return {
        "name": name.replace("_", " "),
        "words": _metric_words(name),
        "value": number(metric.value),
        "floor": number(metric.floor),
        "interval": interval_words(metric.low, metric.high),
        "n": number(metric.n),
        "chart": Markup(interval_chart(metric)),
    }


def achieved_row(row: Achieved) -> dict[str, str]:
    """What was asked beside what was achieved, as the cells of a table."""
    kept = UNKNOWN if not row.num_asked else f"{number(row.kept)} of {number(row.num_asked)}"
    return {
        "of": "" if row.of == PLAN else row.of,
        "where": row.where.replace("==", "=") or "every scan",
        "asked": f"{row.asked:,.1f}".removesuffix(".0"),
        "drawn": number(row.drawn),
        "accepted": number(row.accepted),
        "read": number(row.read),
        "bounds": UNKNOWN if row.low is None else f"{row.low:,.0f} to {row.high:,.0f}",
        "kept": kept,
    }


def _metric_words(name: str) -> str:
    if name in _METRICS:
        return _METRICS[name]
    if name.startswith(_ROUND_TRIP):
        return "real scans through the autoencoder: " + _metric_words(
            name.removeprefix(_ROUND_TRIP)
        )
    if name.startswith("agreement_"):
        return "asked and read agree: 1 as in real scans, 0 as by chance"
    if name.startswith("trained_masks_"):
        return "share of scans whose mask is exactly a training scan's; above 0 gives it away"
    if name.startswith("obeyed_"):
        return "1 where agreement is surely above chance and may reach the limit, else 0"
    for ending, words in _SCORES.items():
        if name.endswith(ending):
            attribute = name.removesuffix(ending)
            return words.format(attribute, attribute)
    return ""


def _gate_name(gate: Mapping[str, Any]) -> str:
    name = str(gate["gate"]).replace("_", " ")
    return f"{name}, {str(gate['kind']).replace('_', ' ')}" if gate.get("kind") else name


def interval_words(low: float | int | None, high: float | int | None) -> str:
    """Both ends, or the one that is known."""
    if low is None and high is None:
        return UNKNOWN
    if low is None or high is None:
        return f"at least {number(low)}" if high is None else f"at most {number(high)}"
    return f"{number(low)} to {number(high)}"
