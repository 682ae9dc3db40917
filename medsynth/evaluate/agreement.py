"""Attribute agreement: what a reader reads off the synthetic scans against what was asked for.

The floor of every score is the same reader's score on real held-out scans. Agreement is
(score - chance) / (real score - chance), given only where the reader beats chance on those.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from scipy.special import softmax
from scipy.stats import rankdata

from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.targets import SEVERAL, Target

Numbers = Float[np.ndarray, "n width"]


@dataclass(frozen=True)
class Reading:
    """A set of scans as read: the truth (or the request) and the reader's outputs, row by row."""

    truth: Numbers
    outputs: Numbers
    subjects: Shaped[np.ndarray, " n"]

    @classmethod
    def of_known(cls, truth: Numbers, outputs: Numbers, subjects: Sequence[str]) -> "Reading":
        """Only the rows whose truth is known."""
        is_known = ~np.isnan(truth).any(axis=1)
        rows = outputs[is_known].astype(np.float64)
        return cls(truth[is_known], rows, np.array(subjects)[is_known])

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class Score:
    """A score of a reading; `chance` is what guessing gets, `None` where the data decide that."""

    name: str
    chance: float | None
    of: Callable[[Numbers, Numbers], float]


def scores_of(target: Target) -> tuple[Score, ...]:
    """The scores of an attribute; the first is the one that agreement is made from."""
    if target.attribute.is_numeric:

        def mae(truth: Numbers, outputs: Numbers) -> float:
            return float(np.abs(target.to_unit(truth[:, 0]) - target.to_unit(outputs[:, 0])).mean())

        return Score("r", 0.0, _correlation), Score("mae", None, mae)
    if target.attribute.kind in SEVERAL:
        return (Score("auc", 0.5, _mean_auc),)
    if target.width == 2:
        return (Score("auc", 0.5, _two_class_auc),)
    accuracy = Score("balanced_accuracy", 1 / target.width, _balanced_accuracy)
    if target.attribute.kind == "ordinal":
        return Score("r", 0.0, _step_correlation), accuracy
    return (accuracy,)


def agreement_metrics(
    target: Target,
    synthetic: Reading,
    real: Reading,
    rng: np.random.Generator,
    *,
    num_draws: int,
) -> dict[str, Metric]:
    """Every score of one attribute, and its agreement."""
    metrics = {}
    for score in scores_of(target):
        low, high = bootstrap(score, synthetic, rng, num_draws=num_draws)
        value, floor = _value(score, synthetic), _value(score, real)
        metrics[f"{target.name}_{score.name}"] = Metric(value, floor, low, high, len(synthetic))
    first = scores_of(target)[0]
    is_readable = beats_chance(target, real, rng, num_draws=num_draws)
    metrics[f"agreement_{target.name}"] = _agreement(
        metrics[f"{target.name}_{first.name}"], first.chance or 0.0, is_readable
    )
    return metrics


def beats_chance(
    target: Target, real: Reading, rng: np.random.Generator, *, num_draws: int
) -> bool:
    """Whether an attribute can surely be read off real held-out scans."""
    first = scores_of(target)[0]
    low, _ = bootstrap(first, real, rng, num_draws=num_draws)
    return low is not None and low > (first.chance or 0.0)


def _agreement(score: Metric, chance: float, is_readable: bool) -> Metric:
    if not is_readable or score.floor is None or score.value is None:
        return Metric(n=score.n)
    span = score.floor - chance
    low, high = (None if x is None else (x - chance) / span for x in (score.low, score.high))
    return Metric((score.value - chance) / span, 1.0, low, high, score.n)


def bootstrap(
    score: Score, reading: Reading, rng: np.random.Generator, *, num_draws: int
) -> tuple[float | None, float | None]:
    """95 % interval of a score, over resampled subjects."""
    if len(reading) < 3:
        return None, None
    _, inverse = np.unique(reading.subjects, return_inverse=True)
    rows = [np.flatnonzero(inverse == subject) for subject in range(inverse.max() + 1)]
    draws = []
    for _ in range(num_draws):
        chosen = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        draws.append(score.of(reading.truth[chosen], reading.outputs[chosen]))
    finite = np.array(draws)[np.isfinite(draws)]
    if len(finite) < num_draws / 2:
        return None, None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _value(score: Score, reading: Reading) -> float | None:
    if len(reading) < 3:
        return None
    value = score.of(reading.truth, reading.outputs)
    return value if np.isfinite(value) else None


def _correlation(truth: Numbers, outputs: Numbers) -> float:
    x, y = truth[:, 0] - truth[:, 0].mean(), outputs[:, 0] - outputs[:, 0].mean()
    spread = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / spread if spread > 0 else float("nan")


def _step_correlation(truth: Numbers, outputs: Numbers) -> float:
    """Correlation of an ordinal value's step with the step expected of the reader."""
    steps = np.arange(truth.shape[1], dtype=np.float64)[:, None]
    return _correlation(truth @ steps, softmax(outputs, axis=1) @ steps)


def auc(is_positive: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]) -> float:
    """Mann-Whitney: how often a positive scores above a negative, ties counting half."""
    num_positive = int(is_positive.sum())
    num_negative = len(is_positive) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    ranks = rankdata(score)[is_positive > 0].sum()
    return float((ranks - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def _two_class_auc(truth: Numbers, outputs: Numbers) -> float:
    return auc(truth[:, 1], outputs[:, 1] - outputs[:, 0])


def _mean_auc(truth: Numbers, outputs: Numbers) -> float:
    """Mean over the labels that are present in some scans and absent in others."""
    found = np.array([auc(truth[:, i], outputs[:, i]) for i in range(truth.shape[1])])
    return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else float("nan")


def _balanced_accuracy(truth: Numbers, outputs: Numbers) -> float:
    wanted, read = truth.argmax(axis=1), outputs.argmax(axis=1)
    return float(np.mean([(read[wanted == value] == value).mean() for value in np.unique(wanted)]))
