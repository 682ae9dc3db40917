"""A cohort's scans against real held-out ones, beside what real training scans would get.

Synthetic scans are compared with the control fold, so that copies of training scans gain
nothing; the floor compares as many training scans with the same control scans. What the generator
can reach at best is a row of its own: training scans that only went through its autoencoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from medsynth.core.manifest import Scan, load_arrays
from medsynth.core.protocols import RoundTrip
from medsynth.evaluate.features import frozen_features
from medsynth.evaluate.fidelity import (
    Features,
    Whitening,
    bandwidth,
    half_sample_interval,
    mmd_by_chance,
    prdc,
    squared_mmd,
)
from medsynth.evaluate.metrics import Metric
from medsynth.evaluate.readers import Images, Readers
from medsynth.evaluate.similarity import mean_off_diagonal, pair_similarity
from medsynth.evaluate.two_sample import TwoSampleConfig, tell_apart

NAMES = (
    "mmd_reader",
    "mmd_frozen",
    "precision",
    "recall",
    "density",
    "coverage",
    "similarity_ratio",
    "two_sample_auc",
)
CEILING = "round_trip_"
"""What stands before the name of a metric of real scans that went through the autoencoder."""


class ComparisonConfig(BaseModel):
    """How many scans are compared, and how finely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_draws: int = 100
    """Half samples behind each interval."""
    max_compared: int = 400
    """Most scans on each side."""
    max_pairs_from: int = 48
    """Scans on each side whose pairs are compared for diversity."""
    min_compared: int = 20
    """Fewest scans on each side; below, every number is unknown."""
    two_sample: TwoSampleConfig = TwoSampleConfig()
    """The network that is told to tell synthetic from real."""


@dataclass(frozen=True)
class Fold:
    """Scans with their voxels."""

    scans: tuple[Scan, ...]
    images: Images

    @classmethod
    def load(cls, folder: Path, scans: Sequence[Scan]) -> "Fold":
        """Read the scans of a stage folder."""
        if not scans:
            return cls((), np.zeros((0, 1, 1, 1), np.float32))
        return cls(tuple(scans), load_arrays(folder, scans).astype(np.float32))

    @property
    def num_subjects(self) -> int:
        """How many different subjects."""
        return len({scan.subject_id for scan in self.scans})

    def pick(self, rng: np.random.Generator, count: int) -> Images:
        """One scan each of `count` subjects drawn at random."""
        first = {scan.subject_id: row for row, scan in reversed(list(enumerate(self.scans)))}
        return np.asarray(self.images[rng.permutation(sorted(first.values()))[:count]])


def compare_folds(
    readers: Readers,
    synthetic: Fold,
    train: Fold,
    control: Fold,
    rng: np.random.Generator,
    config: ComparisonConfig,
    round_trip: RoundTrip | None = None,
) -> dict[str, Metric]:
    """MMD in two feature spaces, PRDC, similarity ratio and two-sample test, n alike on all sides.

    `round_trip` adds the same rows for the autoencoder alone.
    """
    folds = (synthetic, train, control)
    n = min(config.max_compared, *(fold.num_subjects for fold in folds))
    names = NAMES + tuple(CEILING + name for name in NAMES if round_trip)
    metrics = {name: Metric(n=n) for name in names}
    if n < config.min_compared:
        return metrics
    ours, seen, held_out = (fold.pick(rng, n) for fold in folds)
    metrics |= _compare(readers, (ours, seen, held_out), rng, config)
    others = {"two_sample_auc": ours}
    if round_trip:
        best = _compare(readers, (round_trip(seen), seen, held_out), rng, config)
        metrics |= {CEILING + name: metric for name, metric in best.items()}
        others[CEILING + "two_sample_auc"] = round_trip(held_out)
    return metrics | _tell_apart(others, seen, held_out, rng, config.two_sample)


def _compare(
    readers: Readers,
    picked: Sequence[Images],
    rng: np.random.Generator,
    config: ComparisonConfig,
) -> dict[str, Metric]:
    """What needs no network of its own, of (synthetic, train, control) scans."""
    metrics: dict[str, Metric] = {}
    if readers.targets:
        read = [readers.features(images).astype(np.float64) for images in picked]
        metrics |= _compare_features("mmd_reader", read, rng, config, with_neighbors=False)
    frozen = [frozen_features(images) for images in picked]
    metrics |= _compare_features("mmd_frozen", frozen, rng, config, with_neighbors=True)
    return metrics | _compare_pairs([p[: config.max_pairs_from] for p in picked], rng, config)


def _tell_apart(
    others: Mapping[str, Images],
    train: Images,
    control: Images,
    rng: np.random.Generator,
    config: TwoSampleConfig,
) -> dict[str, Metric]:
    """Each of the others against control scans, beside training scans against the same."""
    seed, n = int(rng.integers(2**31)), len(control)
    floor = tell_apart(control, train, config, seed=seed).auc
    metrics = {}
    for name, images in others.items():
        told = tell_apart(control, images, config, seed=seed)
        metrics[name] = Metric(told.auc, floor, *told.interval(rng, config.num_draws), n)
    return metrics


def _compare_features(
    name: str,
    features: Sequence[Features],
    rng: np.random.Generator,
    config: ComparisonConfig,
    *,
    with_neighbors: bool,
) -> dict[str, Metric]:
    """Synthetic against control beside train against control, in one whitened space.

    The floor of an MMD is what real scans, parted at random, stay below 19 times of 20.
    """
    whiten = Whitening.fit(np.concatenate(features[1:]))
    synthetic, train, control = (whiten(x) for x in features)
    real, n = np.concatenate([train, control]), len(control)
    width = bandwidth(real)

    def compare(a: Features, b: Features) -> dict[str, float]:
        return {name: squared_mmd(a, b, width)} | (prdc(b, a) if with_neighbors else {})

    value, floor = compare(synthetic, control), compare(train, control)
    floor[name] = mmd_by_chance(real, width, rng, num_draws=config.num_draws)
    intervals = half_sample_interval(
        lambda rows: compare(synthetic[rows], control[rng.permutation(n)[: len(rows)]]),
        value,
        n,
        rng,
        num_draws=config.num_draws,
    )
    return {key: Metric(value[key], floor[key], *intervals[key], n) for key in value}


def _compare_pairs(
    picked: Sequence[Images], rng: np.random.Generator, config: ComparisonConfig
) -> dict[str, Metric]:
    """Similarity of synthetic pairs as ratio to that of real pairs; above 1 is less diverse."""
    synthetic, train, control = (pair_similarity(images) for images in picked)
    real, n = mean_off_diagonal(control), len(synthetic)

    def ratio(rows: np.ndarray) -> dict[str, float]:
        return {"similarity_ratio": mean_off_diagonal(synthetic[np.ix_(rows, rows)]) / real}

    value = ratio(np.arange(n))
    intervals = half_sample_interval(ratio, value, n, rng, num_draws=config.num_draws)
    floor = mean_off_diagonal(train) / real
    return {key: Metric(value[key], floor, *intervals[key], n) for key in value}
