"""Whom an extraction aims at: members that stand alone, members that look alike, and any."""

import numpy as np
from jaxtyping import Float, Int

from medsynth.core.schema import Attributes, AttributeValue
from privacy.attacks.extraction_cliques import nearest, tile_distances
from privacy.folds import Fold

NUM_RARE, NUM_ALIKE, NUM_RANDOM = 32, 16, 16
_COMPANY = 5  # how many neighbors make an attribute vector covered

Rows = Int[np.ndarray, " rows"]


def pick_targets(train: Fold, seed: int) -> Rows:
    """One scan each of at most 64 members.

    32 of the rarest attributes (least local coverage, arXiv 2606.14390), 16 closest to another
    member's scan (duplicates are memorized first), 16 at random; ties fall at random.
    """
    order = np.random.default_rng([seed, 6]).permutation(len(train.subjects))
    _, first = np.unique(train.subjects[order], return_index=True)
    scans = order[np.sort(first)]
    rare = _largest(_loneliness(train, scans), NUM_RARE)
    rest = np.delete(scans, rare)
    pictures = train.volumes[rest]
    alike = _largest(-nearest(tile_distances(pictures, pictures), own=True), NUM_ALIKE)
    return np.concatenate([scans[rare], rest[alike], np.delete(rest, alike)[:NUM_RANDOM]])


def _largest(values: Float[np.ndarray, " n"], count: int) -> Rows:
    return np.argsort(-values, kind="stable")[:count]


def _loneliness(train: Fold, scans: Rows) -> Float[np.ndarray, " scans"]:
    """Distance to the fifth-nearest member's attributes; without attributes nobody is lonely."""
    rows = [train.attributes[scan] for scan in scans] if train.attributes else []
    places = places_of(rows)
    if not len(places):
        return np.zeros(len(scans))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    rank = min(_COMPANY, len(scans) - 1)
    return np.asarray(np.sort(apart, axis=1)[:, rank], np.float64)


def places_of(rows: list[Attributes]) -> Float[np.ndarray, "rows axes"]:
    """Attributes as points: numbers in sds, an axis for every word and for what is missing."""
    names = sorted({name for row in rows for name in row})
    axes = [axis for name in names for axis in _axes([row.get(name) for row in rows])]
    return np.stack(axes, 1) if axes else np.zeros((0, 0))


def _axes(column: list[AttributeValue]) -> list[Float[np.ndarray, " rows"]]:
    axes = [np.array([float(value is None) for value in column])]
    words = sorted({w for v in column if isinstance(v, str) for w in v.split("|")})
    for word in words:
        axes.append(np.array([float(isinstance(v, str) and word in v.split("|")) for v in column]))
    numbers = np.array([np.nan if v is None or isinstance(v, str) else float(v) for v in column])
    known = ~np.isnan(numbers)
    if known.any() and (spread := numbers[known].std()) > 0:
        axes.append(np.where(known, (numbers - numbers[known].mean()) / spread, 0.0))
    return axes
