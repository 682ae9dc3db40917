"""The exported table as an attacker reads it: attributes, and components of the images beside them.

The components are fitted on synthetic images alone, as whoever holds the release could; members and
controls are projected onto them. Each gets the synthetic scans' spread as its unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import eigh

from medsynth.core.schema import Attribute, Attributes, AttributeSchema, AttributeValue
from privacy.folds import Fold

NUM_COMPONENTS = 10
MISSING = -np.inf
_SIDE = 32  # voxels along an axis; finer detail is no matter of ten components
_DECIMALS = 6  # equal scans must get equal components, whatever the order of a sum
_LEFT_OUT = ("text", "mask")


@dataclass(frozen=True, eq=False)
class Column:
    """One attribute or component: numbers, or the codes of words; `MISSING` where there is none.

    `flags` says which single labels a scan has, for an attribute of several labels.
    """

    name: str
    is_number: bool
    is_asked: bool
    values: Float[np.ndarray, " n"]
    flags: Bool[np.ndarray, "n labels"] | None = None

    @property
    def is_known(self) -> Bool[np.ndarray, " n"]:
        """Where there is a value."""
        known: Bool[np.ndarray, " n"] = self.values != MISSING
        return known

    @property
    def spread(self) -> float:
        """From the smallest value to the largest."""
        known = self.values[self.is_known]
        return float(np.ptp(known)) if len(known) else 0.0


@dataclass(frozen=True, eq=False)
class Table:
    """Columns over scans, and the number of each scan's subject."""

    columns: tuple[Column, ...]
    subjects: Int[np.ndarray, " n"]

    @cached_property
    def matrix(self) -> Float[np.ndarray, "n columns"]:
        """All values, column by column."""
        return np.stack([column.values for column in self.columns], axis=1)

    @cached_property
    def owners(self) -> Int[np.ndarray, " n"]:
        """Subjects numbered from 0."""
        return np.unique(self.subjects, return_inverse=True)[1]

    @property
    def num_subjects(self) -> int:
        """How many different subjects."""
        return int(self.owners.max()) + 1

    @property
    def asked(self) -> tuple[int, ...]:
        """Positions of the attributes, as against components."""
        return tuple(i for i, column in enumerate(self.columns) if column.is_asked)

    def by_subject(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " subjects"]:
        """Sums over each subject's scans."""
        return np.bincount(self.owners, weights=values, minlength=self.num_subjects)


def make_tables(schema: AttributeSchema, folds: Sequence[Fold]) -> tuple[Table, ...]:
    """One table per fold, coded alike; the first fold is the synthetic one."""
    images = Components.fit(folds[0].volumes, NUM_COMPONENTS)
    scores = [images.project(fold.volumes) for fold in folds]
    coded = [
        _code(a, [[row.get(a.name) for row in _rows(fold)] for fold in folds])
        for a in schema
        if a.kind not in _LEFT_OUT
    ]
    return tuple(
        Table((*(columns[i] for columns in coded), *_image_columns(scores[i])), fold.subjects)
        for i, fold in enumerate(folds)
    )


def _rows(fold: Fold) -> Sequence[Attributes]:
    """A row per scan, empty where nothing is known."""
    return fold.attributes or [{} for _ in fold.volumes]


def _image_columns(scores: Float[np.ndarray, "n dim"]) -> list[Column]:
    return [Column(f"component {i}", True, False, s) for i, s in enumerate(scores.T)]


def _code(attribute: Attribute, groups: Sequence[Sequence[AttributeValue]]) -> list[Column]:
    """A column per group; log-scaled numbers by their logarithm, ordinals by their position."""
    present = {str(v) for group in groups for v in group if v is not None}
    words = list(attribute.values) if attribute.kind == "ordinal" else []
    words += sorted(present - set(words))
    codes = {word: float(i) for i, word in enumerate(words)}
    is_number = attribute.is_numeric or (attribute.kind == "ordinal" and bool(attribute.values))
    columns = []
    for group in groups:
        values = np.array([_number(attribute, v, codes) for v in group])
        flags = _flags(group, words) if attribute.kind == "labels" else None
        columns.append(Column(attribute.name, is_number, True, values, flags))
    return columns


def _number(attribute: Attribute, value: AttributeValue, codes: dict[str, float]) -> float:
    if value is None:
        return MISSING
    if not attribute.is_numeric:
        return codes[str(value)]
    return float(np.log1p(float(value)) if attribute.scale == "log" else value)


def _flags(group: Sequence[AttributeValue], words: Sequence[str]) -> Bool[np.ndarray, "n labels"]:
    labels = sorted({label for word in words for label in word.split("|")})
    sets = [set() if value is None else set(str(value).split("|")) for value in group]
    return np.array([[label in s for label in labels] for s in sets], bool).reshape(len(sets), -1)


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of shrunk images, each with a spread of one where it was fitted."""

    center: Float[np.ndarray, " voxels"]
    axes: Float[np.ndarray, "voxels dim"]

    @classmethod
    def fit(cls, volumes: Float[np.ndarray, "n i j k"], dim: int) -> "Components":
        """At most `dim` components, by the scans' Gram matrix."""
        flat = _shrink(volumes)
        center = flat.mean(0)
        n, centered = len(flat), flat - center
        first = max(n - dim, 0)
        powers, vectors = eigh(centered @ centered.T, subset_by_index=(first, n - 1))
        kept = powers > 1e-9 * max(float(powers[-1]), 1e-12)
        powers, vectors = powers[kept][::-1], vectors[:, kept][:, ::-1]
        return cls(center, centered.T @ vectors * np.sqrt(n) / powers)

    def project(self, volumes: Float[np.ndarray, "n i j k"]) -> Float[np.ndarray, "n dim"]:
        """Components of any scans of the same shape."""
        scores: Float[np.ndarray, "n dim"] = np.round(
            (_shrink(volumes) - self.center) @ self.axes, _DECIMALS
        )
        return scores + 0.0  # no negative zeros


def _shrink(volumes: Float[np.ndarray, "n i j k"]) -> Float[np.ndarray, "n voxels"]:
    """Block means, so that no axis is longer than _SIDE; one row per scan."""
    for axis, length in enumerate(volumes.shape[1:], start=1):
        if length > _SIDE:
            starts = np.arange(0, length, -(-length // _SIDE))
            sizes = np.diff([*starts, length]).reshape([-1 if a == axis else 1 for a in range(4)])
            volumes = np.add.reduceat(volumes, starts, axis=axis) / sizes
    return volumes.reshape(len(volumes), -1).astype(np.float64)
