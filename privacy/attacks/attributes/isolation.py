"""How often a predicate fits exactly one of so many people, from whom it fits in a group.

Two groups are only comparable at one size. For a size up to the group's, the mean over all draws is
hypergeometric, so nothing is drawn. Beyond it, the shares w of people whom predicates fit are
estimated by maximum likelihood as a mixture over a grid (Kiefer & Wolfowitz 1956; by EM, Laird,
JASA 1978), and n w (1 - w)^(n - 1) is averaged over the mixture. anonymeter fits a curve of two
parameters instead (section 5.1.1 of Giomi et al.), which stood further off in docs/benchmarks.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from privacy.attacks.attributes.risk import Share, jackknifed

_GRID, _ROUNDS = 40, 300


def isolated(fits: Bool[np.ndarray, "predicates subjects"], size: int) -> Share:
    """How often one of the predicates fits exactly one of `size` people like the subjects."""
    num_predicates, n = fits.shape
    counts = fits.sum(1)
    num_fitting = np.arange(counts.max() + 2)
    is_count = (counts[:, None] == num_fitting).astype(np.float64)
    own = (is_count.T @ fits).T  # per subject: predicates that fit it, by how many they fit
    histogram = is_count.sum(0)
    without = histogram - own
    without[:, :-1] += own[:, 1:]
    value = float(_exactly_one(histogram[None] / num_predicates, n, size)[0])
    left_out = _exactly_one(without / num_predicates, n - 1, size - 1 if size == n else size)
    return jackknifed(value, left_out, num_predicates, own=value * (1 - value) / num_predicates)


def _exactly_one(
    histograms: Float[np.ndarray, "batch counts"], n: int, size: int
) -> Float[np.ndarray, " batch"]:
    counts = np.arange(histograms.shape[1])
    if size > n:
        return _beyond(histograms, n, size)
    once: Float[np.ndarray, " batch"] = histograms @ stats.hypergeom.pmf(1, n, counts, size)
    return once


def _beyond(
    histograms: Float[np.ndarray, "batch counts"], n: int, size: int
) -> Float[np.ndarray, " batch"]:
    """The same for more people than there are, by the mixture that explains each histogram best."""
    shares = np.concatenate([[0.0], np.geomspace(0.02 / n, 0.5, _GRID)])
    likelihood = np.asarray(stats.binom.pmf(np.arange(histograms.shape[1]), n, shares[:, None]))
    mixture = np.full((len(histograms), len(shares)), 1 / len(shares))
    for _ in range(_ROUNDS):
        explained = np.maximum(mixture @ likelihood, 1e-300)
        mixture = mixture * ((histograms / explained) @ likelihood.T)
    once: Float[np.ndarray, " batch"] = mixture @ (size * shares * (1 - shares) ** (size - 1))
    shown: Float[np.ndarray, " batch"] = once / mixture.sum(1)
    return shown
