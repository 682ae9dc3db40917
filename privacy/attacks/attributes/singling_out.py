"""Singling out: does a description that fits one synthetic scan fit exactly one person?

The attacker collects predicates that single out one scan of the cohort, and claims that each
singles out one real person. It does so by luck, too: a predicate that fits a share w of people fits
exactly one of n with n w (1 - w)^(n - 1) (Cohen & Nissim, PNAS 2020), so controls say how often.

Univariate: one column; the rarest words, the outermost numbers, and numbers met again within a
hundredth of the gap to the next synthetic one. Multivariate, as anonymeter has it: some columns of
one synthetic scan, its words and its numbers "or more" ("or less" below the median). Neighborhood:
some columns of one scan, its words and its numbers within so many ranks that few others share them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from privacy.attacks.attributes.isolation import isolated
from privacy.attacks.attributes.risk import Tries
from privacy.attacks.attributes.table import MISSING, Table

NUM_COLUMNS = (
    6  # that a predicate is about; with anonymeter's 3, luck hides leaks (docs/benchmarks)
)
_BATCH, _NUM_BATCHES = 1000, 60
_COMPANY = 0.1  # others expected to fit all conditions of a neighborhood
_TINY = 0.01  # of the gap to the next synthetic value: met again, not by chance
_LOWEST, _HIGHEST = np.finfo(np.float64).min, np.inf


@dataclass(frozen=True, eq=False)
class Predicates:
    """Conjunctions of conditions "this column lies in [low, high]"; a missing value is -inf."""

    columns: Int[np.ndarray, "predicates conditions"]
    low: Float[np.ndarray, "predicates conditions"]
    high: Float[np.ndarray, "predicates conditions"]

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, picked: np.ndarray) -> "Predicates":
        return Predicates(self.columns[picked], self.low[picked], self.high[picked])

    def fit(self, table: Table) -> Bool[np.ndarray, "predicates subjects"]:
        """Which subjects have a scan that fulfills all conditions."""
        values = table.matrix.T[self.columns]
        inside = (values >= self.low[..., None]) & (values <= self.high[..., None])
        order = np.argsort(table.owners, kind="stable")
        starts = np.searchsorted(table.owners[order], np.arange(table.num_subjects))
        return np.logical_or.reduceat(inside.all(1)[:, order], starts, axis=1)


def singling_out(
    synthetic: Table,
    members: Table,
    controls: Table,
    num_tries: int,
    seed: int,
    num_columns: int = NUM_COLUMNS,
) -> list[Tries]:
    """All three sorts of predicates, at most `num_tries` of each, against both groups."""
    rng = np.random.default_rng([seed, 1])
    sorts = {
        "univariate": _univariate(synthetic, num_tries, rng),
        "multivariate": _collect(_outward, synthetic, num_tries, num_columns, rng),
        "neighborhood": _collect(_around, synthetic, num_tries, num_columns, rng),
    }
    groups = (members, controls)
    return [
        Tries(name, len(found), *(isolated(_fits(found, g), members.num_subjects) for g in groups))
        for name, found in sorts.items()
        if len(found)
    ]


def _fits(predicates: Predicates, table: Table) -> Bool[np.ndarray, "predicates subjects"]:
    parts = np.array_split(np.arange(len(predicates)), -(-len(predicates) // _BATCH))
    return np.concatenate([predicates[part].fit(table) for part in parts])


def _univariate(table: Table, num_tries: int, rng: np.random.Generator) -> Predicates:
    found: list[tuple[int, float, float]] = []
    for place, column in enumerate(table.columns):
        values, counts = np.unique(column.values, return_counts=True)
        known = values != MISSING
        alone = values[(counts == 1) & known]
        if column.is_number and known.any():
            reach = _TINY * _gaps(values[known])[counts[known] == 1]
            found += [(place, v - r, v + r) for v, r in zip(alone, reach, strict=True)]
            ends = values[known][[0, -1]]
            found += [(place, _LOWEST, ends[0]), (place, ends[1], _HIGHEST)]
        else:
            found += [(place, v, v) for v in alone]
        if (counts[~known] == 1).any():
            found.append((place, MISSING, MISSING))
    return _unique_in(_predicates(found), table, num_tries, rng)


def _gaps(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Half the distance to the nearest other of sorted values."""
    gaps = np.concatenate([[np.inf], np.diff(values), [np.inf]])
    nearest = np.minimum(gaps[:-1], gaps[1:]) / 2
    return np.where(np.isfinite(nearest), nearest, 0.0)


def _predicates(found: list[tuple[int, float, float]]) -> Predicates:
    places = np.array([f[0] for f in found], np.int64).reshape(-1, 1)
    bounds = np.array([f[1:] for f in found], np.float64).reshape(-1, 2)
    return Predicates(places, bounds[:, :1], bounds[:, 1:])


def _unique_in(
    predicates: Predicates, table: Table, num_tries: int, rng: np.random.Generator
) -> Predicates:
    """Those that fit one row of the table; at most `num_tries` of them, at random."""
    if not len(predicates):
        return predicates
    keep = rng.permutation(np.flatnonzero(predicates.fit(table).sum(1) == 1))[:num_tries]
    return predicates[keep]


_Draw = Callable[[Table, Int[np.ndarray, " n"], Int[np.ndarray, "n k"]], Predicates]


def _collect(
    draw: _Draw, table: Table, num_tries: int, num_columns: int, rng: np.random.Generator
) -> Predicates:
    """Predicates about random columns of random rows, until enough different ones single out."""
    conditions = min(num_columns, len(table.columns))
    found = Predicates(*(np.zeros((0, conditions), t) for t in (np.int64, float, float)))
    for _ in range(_NUM_BATCHES):
        rows = rng.integers(len(table.subjects), size=_BATCH)
        columns = rng.random((_BATCH, len(table.columns))).argsort(1)[:, :conditions]
        new = _unique_in(draw(table, rows, np.sort(columns)), table, _BATCH, rng)
        found = _different(found, new)
        if len(found) >= num_tries:
            break
    return found[np.arange(min(num_tries, len(found)))]


def _different(one: Predicates, other: Predicates) -> Predicates:
    columns, low, high = (
        np.concatenate([getattr(one, name), getattr(other, name)])
        for name in ("columns", "low", "high")
    )
    first = np.unique(np.concatenate([columns, low, high], 1), axis=0, return_index=True)[1]
    return Predicates(columns, low, high)[np.sort(first)]


def _outward(
    table: Table, rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, "n k"]
) -> Predicates:
    values, is_number = _values(table, rows, columns)
    medians = np.array([np.median(c.values[c.is_known]) if c.is_known.any() else 0.0
                        for c in table.columns])  # fmt: skip
    is_above = values > medians[columns]
    low = np.where(is_number & ~is_above, _LOWEST, values)
    return Predicates(columns, low, np.where(is_number & is_above, _HIGHEST, values))


def _around(
    table: Table, rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, "n k"]
) -> Predicates:
    """Numbers within so many ranks that _COMPANY others fit, were columns independent."""
    values, is_number = _values(table, rows, columns)
    n = len(table.subjects)
    numbers = np.maximum(is_number.sum(1, keepdims=True), 1)
    reach = np.maximum(n * (_COMPANY / n) ** (1 / numbers) / 2, 1).astype(np.int64)
    ordered = np.sort(table.matrix, axis=0)
    ranks = np.argsort(np.argsort(table.matrix, axis=0, kind="stable"), axis=0)
    ranks = ranks[rows[:, None], columns]
    low = np.maximum(ordered[np.maximum(ranks - reach, 0), columns], _LOWEST)
    high = ordered[np.minimum(ranks + reach, n - 1), columns]
    return Predicates(columns, np.where(is_number, low, values), np.where(is_number, high, values))


def _values(
    table: Table, rows: Int[np.ndarray, " n"], columns: Int[np.ndarray, "n k"]
) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, "n k"]]:
    """The values that predicates start from, and which of them are numbers and not missing."""
    values = table.matrix[rows[:, None], columns]
    numeric = np.array([column.is_number for column in table.columns])
    return values, numeric[columns] & (values != MISSING)
