"""Image to attribute: does a reader trained on the cohort read members better than controls?

Whoever holds a person's scan can train a reader on the release and read that person's attributes
from the scan. How well this works on anybody is the cohort's use, not a leak; that it works better
on members is one. A cohort carries the attributes that it was asked for and no others, and without
labels nothing can be learned: an attribute that it does not carry cannot be attacked from the
release alone, so every attribute that it does carry is, whether or not somebody calls it sensitive.

The reader is a ridge regression of classes on whitened components of the synthetic images: numbers
are read as thirds, each of several labels as had or not. Measured is the difference of the shares
read right, over what is left above chance: (members - controls) / (1 - chance), chance being the
most frequent answer's share among members and controls together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from privacy.attacks.attributes.risk import Tries, share_by_subject
from privacy.attacks.attributes.table import Column, Components, Table
from privacy.evidence import CONFIDENCE, Interval
from privacy.folds import Fold

_MOST_COMPONENTS = 100
_RIDGE = 0.1  # of the components' common spread
_CLASSES = 3  # of numbers
_FEWEST = 10  # synthetic scans of a class, below which it is not learned


@dataclass(frozen=True)
class Read:
    """How often the reader was right on each group, and how often the best constant answer is."""

    tries: Tries
    chance: float

    def gap(self, num_looks: int = 1) -> Interval:
        """Members' accuracy less controls', chance-corrected; bounds by Newcombe's method 10.

        The low bound holds for all of `num_looks` such intervals at once (Bonferroni).
        """
        estimate = self.tries.members.value - self.tries.controls.value
        z = float(stats.norm.ppf(1 - (1 - CONFIDENCE) / num_looks))
        low, high = self._reach(z, -1), self._reach(float(stats.norm.ppf(CONFIDENCE)), 1)
        room = max(1 - self.chance, 1e-9)
        return Interval(estimate / room, (estimate - low) / room, (estimate + high) / room)

    def grown(self, factor: float) -> "Read":
        """What so many times the subjects would know, if the shares stayed."""
        return replace(self, tries=self.tries.grown(factor))

    def _reach(self, z: float, sign: int) -> float:
        one, other = self.tries.members, self.tries.controls
        (a, half_a), (c, half_c) = one.wilson(z), other.wilson(z)
        return hypot(a + sign * half_a - one.value, c - sign * half_c - other.value)


@dataclass(frozen=True)
class ReadAll:
    """All attributes together, and one by one."""

    pooled: Read
    by_attribute: tuple[Read, ...]

    @property
    def worst(self) -> tuple[Read, Interval]:
        """The attribute given away most surely; its low bound holds for all of them at once."""
        found = [(read, read.gap(len(self.by_attribute))) for read in self.by_attribute]
        return max(found, key=lambda pair: pair[1].low)


def read_attributes(folds: Sequence[Fold], tables: Sequence[Table]) -> ReadAll | None:
    """Train on the first fold, the synthetic one; read the others, members and controls.

    `None` where the cohort carries nothing that can be learned.
    """
    images = Components.fit(folds[0].volumes, _num_components(len(folds[0].volumes)))
    features = [images.project(fold.volumes) for fold in folds]
    answers = [a for i in tables[0].asked for a in _answers([t.columns[i] for t in tables])]
    read = [_read(features, a) for a in answers if _is_learnable(a)]
    if not read:
        return None
    names = [answer.name for answer in answers if _is_learnable(answer)]
    single = tuple(_score(n, tables, [o]) for n, o in zip(names, read, strict=True))
    return ReadAll(_score("all", tables, read), single)


def _num_components(num_scans: int) -> int:
    return max(min(_MOST_COMPONENTS, num_scans // 4), 1)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What is to be read, per group: the number of a class, -1 where it is unknown."""

    name: str
    classes: tuple[Int[np.ndarray, " _"], ...]


def _answers(columns: Sequence[Column]) -> list[_Answer]:
    """One per attribute, one per label where there are several at once."""
    known, name = [column.is_known for column in columns], columns[0].name
    if columns[0].is_number and known[0].any():
        edges = np.quantile(columns[0].values[known[0]], np.arange(1, _CLASSES) / _CLASSES)
        raw = [np.searchsorted(edges, column.values, side="right") for column in columns]
    elif columns[0].flags is not None:
        flags = [column.flags.T for column in columns if column.flags is not None]
        return [
            _Answer(f"{name} {i}", _where(known, [has.astype(np.int64) for has in label]))
            for i, label in enumerate(zip(*flags, strict=True))
        ]
    else:
        raw = [np.where(column.is_known, column.values, -1).astype(int) for column in columns]
    return [_Answer(name, _where(known, raw))]


def _where(
    known: Sequence[Bool[np.ndarray, " _"]], raw: Sequence[Int[np.ndarray, " _"]]
) -> tuple[Int[np.ndarray, " _"], ...]:
    return tuple(np.where(k, classes, -1) for k, classes in zip(known, raw, strict=True))


def _is_learnable(answer: _Answer) -> bool:
    """Two classes with enough synthetic scans, and somebody in both groups to read."""
    counts = np.bincount(answer.classes[0][answer.classes[0] >= 0])
    return int((counts >= _FEWEST).sum()) >= 2 and all((c >= 0).any() for c in answer.classes[1:])


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Per group and scan: whether the class was known, and read right; and chance."""

    known: list[Bool[np.ndarray, " _"]]
    right: list[Bool[np.ndarray, " _"]]
    chance: float


def _read(features: Sequence[Float[np.ndarray, "_ dim"]], answer: _Answer) -> _Outcome:
    taught = answer.classes[0] >= 0
    reader = _Reader.fit(features[0][taught], answer.classes[0][taught])
    known = [classes >= 0 for classes in answer.classes[1:]]
    right = [
        (reader(x) == classes) & k
        for x, classes, k in zip(features[1:], answer.classes[1:], known, strict=True)
    ]
    pooled = np.concatenate([c[k] for c, k in zip(answer.classes[1:], known, strict=True)])
    return _Outcome(known, right, float(np.bincount(pooled).max() / len(pooled)))


@dataclass(frozen=True, eq=False)
class _Reader:
    """Least squares of one-hot classes, with a ridge; the class of the largest output."""

    weights: Float[np.ndarray, "inputs classes"]

    @classmethod
    def fit(cls, x: Float[np.ndarray, "n dim"], classes: Int[np.ndarray, " n"]) -> "_Reader":
        """Fitted in closed form."""
        inputs, targets = _with_one(x), np.eye(int(classes.max()) + 1)[classes]
        normal = inputs.T @ inputs / len(x) + _RIDGE * np.eye(inputs.shape[1])
        return cls(np.linalg.solve(normal, inputs.T @ targets / len(x)))

    def __call__(self, x: Float[np.ndarray, "n dim"]) -> Int[np.ndarray, " n"]:
        classes: Int[np.ndarray, " n"] = (_with_one(x) @ self.weights).argmax(1)
        return classes


def _with_one(x: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n inputs"]:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _score(name: str, tables: Sequence[Table], outcomes: Sequence[_Outcome]) -> Read:
    shares, num_tries = [], 0
    for place, table in enumerate(tables[1:]):
        hits = np.sum([o.right[place] for o in outcomes], axis=0).astype(float)
        tries = np.sum([o.known[place] for o in outcomes], axis=0).astype(float)
        shares.append(share_by_subject(table.by_subject(hits), table.by_subject(tries)))
        num_tries = int(tries.sum())
    weights = [float(sum(k.sum() for k in o.known)) for o in outcomes]
    chance = float(np.average([o.chance for o in outcomes], weights=weights))
    return Read(Tries(name, num_tries, *shares), chance)
