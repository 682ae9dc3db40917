"""What a reader has to read: attributes as numbers, with NaN where a value is missing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from medsynth.core.schema import Attribute, Attributes, AttributeSchema, AttributeValue
from medsynth.core.text import UNKNOWN, words_of

READABLE = ("continuous", "ordinal", "category", "labels", "text")
MOST_READ, RAREST = 16, 0.1  # words of a text that are read, and the share of scans that have them

SEVERAL = ("labels", "text")
"""Kinds whose values hold several words at once; of a text the words are read, not their order."""


@dataclass(frozen=True)
class Target:
    """One attribute as numbers: standardized, one-hot, or a yes and no for each label.

    `mean` and `sd` are those of the training fold, on the attribute's scale. `weights` even out
    the classes; for labels they multiply the positives.
    """

    attribute: Attribute
    values: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0
    weights: tuple[float, ...] = (1.0,)

    @property
    def name(self) -> str:
        """The attribute's name."""
        return self.attribute.name

    @property
    def width(self) -> int:
        """How many numbers stand for a value."""
        return len(self.values) or 1

    def encode(self, values: Sequence[AttributeValue]) -> Float[np.ndarray, "n width"]:
        """A row for each value; a missing or unheard-of value is a row of NaN."""
        rows = [self._encode(value) for value in values]
        return np.array(rows, np.float64).reshape(len(values), self.width)

    def decode(self, outputs: Float[np.ndarray, "n width"]) -> list[AttributeValue]:
        """The value that each row of a reader's outputs stands for."""
        if self.attribute.is_numeric:
            return [float(value) for value in self.to_unit(outputs[:, 0])]
        if self.attribute.kind in SEVERAL:
            return [self._labels(row) for row in outputs - np.log(self.weights)]
        return [self.values[int(row.argmax())] for row in outputs]

    def to_unit(self, standardized: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Standardized numbers in the attribute's unit, within its range."""
        scaled = standardized.astype(np.float64) * self.sd + self.mean
        values = np.expm1(scaled) if self.attribute.scale == "log" else scaled
        low, high = self.attribute.low, self.attribute.high
        return values if low is None and high is None else np.clip(values, low, high)

    def _encode(self, value: AttributeValue) -> list[float]:
        if value is None:
            return [np.nan] * self.width
        if self.attribute.is_numeric:
            return [(_scaled(self.attribute, float(value)) - self.mean) / self.sd]
        words = _words(self.attribute, value)
        if self.attribute.kind not in SEVERAL and not words <= set(self.values):
            return [np.nan] * self.width
        return [float(word in words) for word in self.values]

    def _labels(self, logits: Float[np.ndarray, " width"]) -> str:
        chosen = [value for value, logit in zip(self.values, logits, strict=True) if logit > 0]
        joint = " " if self.attribute.kind == "text" else "|"
        return joint.join(sorted(chosen or [self.values[int(logits.argmax())]]))


def _words(attribute: Attribute, value: AttributeValue) -> set[str]:
    """The words of a value, each once."""
    if attribute.kind == "text":
        return set(words_of(str(value)))
    return set(str(value).split("|")) if attribute.kind == "labels" else {str(value)}


def _scaled(attribute: Attribute, value: float) -> float:
    return float(np.log1p(value)) if attribute.scale == "log" else value


def fit_targets(
    schema: AttributeSchema, rows: Sequence[Attributes], *, min_known: int
) -> tuple[Target, ...]:
    """A target for each attribute that has at least `min_known` values and varies in `rows`."""
    targets = []
    for attribute in schema:
        known = [row[attribute.name] for row in rows if row.get(attribute.name) is not None]
        if attribute.kind in READABLE and len(known) >= min_known and len(set(known)) > 1:
            fitted = _fit(attribute, known)
            if fitted.values or attribute.is_numeric:
                targets.append(fitted)
    return tuple(targets)


def _fit(attribute: Attribute, known: Sequence[AttributeValue]) -> Target:
    if attribute.is_numeric:
        scaled = [_scaled(attribute, float(value)) for value in known if value is not None]
        return Target(attribute, mean=float(np.mean(scaled)), sd=float(np.std(scaled)) or 1.0)
    is_labels = attribute.kind in SEVERAL
    counts = Counter(word for value in known for word in _words(attribute, value))
    if attribute.kind == "text":
        telling = {w: n for w, n in counts.items() if RAREST <= n / len(known) <= 1 - RAREST}
        counts = Counter(dict(Counter(telling).most_common(MOST_READ)))
        del counts[UNKNOWN]
    values = tuple(value for value in attribute.values or sorted(counts) if counts[value])
    shares = np.array([counts[value] / len(known) for value in values])
    weights = (1 - shares) / shares if is_labels else 1 / (len(values) * shares)
    weights = np.clip(weights, 0.2, 5.0)
    return Target(attribute, values, weights=tuple(float(weight) for weight in weights))
