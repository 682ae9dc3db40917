"""Strata of subjects: one word of an attribute, a third of a number, or not recorded."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from medsynth.core.schema import AttributeValue
from privacy.folds import Fold

Mask = Bool[np.ndarray, " subjects"]


def strata_of(fold: Fold) -> list[Mask]:
    """Which subjects, in order of their numbers, lie in each stratum by their first scan."""
    _, first = np.unique(fold.subjects, return_index=True)
    rows = [fold.attributes[scan] for scan in first] if fold.attributes else []
    names = sorted({name for row in rows for name in row})
    return [mask for name in names for mask in _strata([row.get(name) for row in rows])]


def _strata(column: Sequence[AttributeValue]) -> list[Mask]:
    missing = np.array([value is None for value in column])
    if any(isinstance(value, str) for value in column):
        words = sorted({word for value in column for word in _words(value)})
        masks = [np.array([word in _words(value) for value in column]) for word in words]
        return [*masks, missing]
    if missing.all():
        return [missing]
    numbers = np.array([np.nan if value is None else float(value) for value in column])
    edges = np.nanquantile(numbers, [1 / 3, 2 / 3])
    third = np.searchsorted(edges, numbers, side="left")
    return [*(~missing & (third == part) for part in range(3)), missing]


def _words(value: AttributeValue) -> list[str]:
    return value.split("|") if isinstance(value, str) else []
