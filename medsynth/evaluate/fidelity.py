"""Fidelity, diversity and coverage of one set of scans against another, by their features.

References: Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012 (unbiased MMD, equation 3);
Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020 (PRDC).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist, pdist

Features = Float[np.ndarray, "n features"]
Others = Float[np.ndarray, "m features"]
NEIGHBORS = 5
_WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Whitening:
    """Centers features and keeps their first principal directions at unit spread."""

    mean: Float[np.ndarray, " features"]
    directions: Float[np.ndarray, "features kept"]

    @classmethod
    def fit(cls, real: Features, *, num_kept: int = 32) -> "Whitening":
        """Directions of the real scans, after each feature has been brought to unit spread."""
        scale = real.std(axis=0) + 1e-6 * (1 + np.abs(real).max())
        mean = real.mean(axis=0)
        _, spread, rows = np.linalg.svd((real - mean) / scale, full_matrices=False)
        kept = min(num_kept, int((spread > 1e-3 * spread.max()).sum()), max(1, len(real) // 3))
        sd = spread[:kept] / np.sqrt(len(real))
        # Square root of the spread: weak directions, mostly noise, are not blown up.
        return cls(mean, (rows[:kept] / np.sqrt(sd[:, None]) / scale).T)

    def __call__(self, features: Features) -> Float[np.ndarray, "n kept"]:
        """The features in those directions."""
        return np.asarray((features - self.mean) @ self.directions)


def bandwidth(real: Features) -> float:
    """Median distance between real scans: the RBF kernels' middle width."""
    return float(np.median(pdist(real))) or 1.0


def squared_mmd(a: Features, b: Others, width: float) -> float:
    """Unbiased squared maximum mean discrepancy; may be negative where the sets agree."""
    within = [_kernel(x, x, width) for x in (a, b)]
    means = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in within]
    return float(sum(means) - 2 * _kernel(a, b, width).mean())


def mmd_by_chance(
    real: Features, width: float, rng: np.random.Generator, *, num_draws: int
) -> float:
    """The squared MMD that two random halves of these scans stay below 19 times of 20.

    One draw of it is as often below zero as above: nothing that a ratio could be taken to.
    """
    half = len(real) // 2
    orders = [rng.permutation(len(real)) for _ in range(num_draws)]
    found = [squared_mmd(real[rows[:half]], real[rows[half:]], width) for rows in orders]
    return float(np.quantile(found, 0.95))


def _kernel(a: Features, b: Others, width: float) -> Float[np.ndarray, "n m"]:
    """Mean of RBF kernels of several widths: one alone is blind far beyond its own."""
    squared = cdist(a, b, "sqeuclidean")
    widths = width * np.array(_WIDTHS)
    return np.asarray(np.mean([np.exp(-squared / (2 * w**2)) for w in widths], axis=0))


def prdc(real: Features, synthetic: Others, k: int = NEIGHBORS) -> dict[str, float]:
    """Precision, recall, density and coverage with balls to the k-th neighbor."""
    real_radius, synthetic_radius = _radius(real, k), _radius(synthetic, k)
    distance = cdist(real, synthetic)
    in_real: Bool[np.ndarray, "r s"] = distance < real_radius[:, None]
    in_synthetic: Bool[np.ndarray, "r s"] = distance < synthetic_radius[None]
    return {
        "precision": float(in_real.any(axis=0).mean()),
        "recall": float(in_synthetic.any(axis=1).mean()),
        "density": float(in_real.sum(axis=0).mean() / k),
        "coverage": float((distance.min(axis=1) < real_radius).mean()),
    }


def _radius(points: Features, k: int) -> Float[np.ndarray, " n"]:
    """Distance from each point to its k-th neighbor, itself not counted."""
    return np.partition(cdist(points, points), k, axis=1)[:, k]


def half_sample_interval(
    statistic: Callable[[np.ndarray], dict[str, float]],
    value: dict[str, float],
    n: int,
    rng: np.random.Generator,
    *,
    num_draws: int,
) -> dict[str, tuple[float, float]]:
    """95 % intervals from random halves, drawn without replacement.

    Resampling with replacement makes exact duplicates, which distort neighbor distances and
    kernels. A half of n without replacement varies about its mean as a fresh sample of n does.
    """
    draws = [statistic(rng.choice(n, n // 2, replace=False)) for _ in range(num_draws)]
    intervals = {}
    for name, center in value.items():
        found = np.array([draw[name] for draw in draws])
        low, high = np.quantile(found, [0.025, 0.975]) - found.mean() + center
        intervals[name] = (float(low), float(high))
    return intervals
