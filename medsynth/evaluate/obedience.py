"""Whether the generator does what it is asked: attributes that its scans do not follow.

A trained network may ignore a condition and still make good scans, and nobody would notice. An
attribute is obeyed where its agreement (1 as in real scans, 0 as by chance) is surely above
chance and may reach a limit; an attribute that no reader reads off real scans is not judged.
"""

from collections.abc import Mapping

from medsynth.evaluate.metrics import Metric

_AGREEMENT, _OBEYED = "agreement_", "obeyed_"


def obedience(metrics: Mapping[str, Metric], limit: float) -> dict[str, Metric]:
    """obeyed_NAME for every agreement_NAME: 1 or 0 beside its floor of 1; `None` is not judged."""
    return {
        _OBEYED + name.removeprefix(_AGREEMENT): _judged(metric, limit)
        for name, metric in metrics.items()
        if name.startswith(_AGREEMENT)
    }


def _judged(agreement: Metric, limit: float) -> Metric:
    if agreement.value is None or agreement.low is None or agreement.high is None:
        return Metric(n=agreement.n)
    obeys = agreement.low > 0 and agreement.high >= limit
    return Metric(float(obeys), 1.0, n=agreement.n)


def disobedience_words(metrics: Mapping[str, Metric]) -> list[str]:
    """A sentence for each attribute that the scans do not follow, or that nobody can judge."""
    found = []
    for name, metric in metrics.items():
        if not name.startswith(_OBEYED) or metric.value == 1:
            continue
        attribute = name.removeprefix(_OBEYED)
        found.append(_sentence(attribute, metric, metrics[_AGREEMENT + attribute]))
    return found


def _sentence(attribute: str, obeyed: Metric, agreement: Metric) -> str:
    if obeyed.value is None or agreement.low is None or agreement.high is None:
        return (
            f"{attribute}: not judged, for it was asked of too few scans or cannot be read off "
            "real ones"
        )
    between = f"agreement between {agreement.low:.2f} and {agreement.high:.2f}"
    if agreement.low <= 0:
        return f"{attribute}: not obeyed, or not so that it shows ({between}; 0 is chance)"
    return f"{attribute}: not obeyed as it should be ({between}; 1 is as in real scans)"
