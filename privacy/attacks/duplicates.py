"""Duplicates: does the cohort repeat itself more often than real people resemble each other?

A duplicate is nearer than a third of what typically lies between a control and the next real
person. Synthetic scans and controls are each compared with equally many others of their kind.
"""

import numpy as np
from jaxtyping import Bool

from privacy.attacks.copying_features import Features, apart_from_own, distances

_SHARE = 1 / 3  # of the typical distance


def duplicates(
    synthetic: Features, members: Features, controls: Features, rng: np.random.Generator
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(duplicates, scans) of the cohort, and of controls among real people."""
    own, others = controls.one_each(rng), members.one_each(rng)
    real = own[rng.permutation(len(own))].join(others[rng.permutation(len(others))])
    size = min(len(synthetic), len(real))
    lengths = apart_from_own(real[np.arange(size)])[: len(own)].min(1)
    cut = _SHARE * float(np.median(lengths))
    found = _has_duplicate(synthetic, size, cut, rng)
    return (int(found.sum()), len(found)), (int((lengths < cut).sum()), len(lengths))


def _has_duplicate(
    synthetic: Features, size: int, cut: float, rng: np.random.Generator
) -> Bool[np.ndarray, " synthetic"]:
    """Whether each scan has a duplicate among `size` scans drawn at random, itself aside."""
    drawn = synthetic[rng.permutation(len(synthetic))[:size]]
    is_other = synthetic.subjects[:, None] != drawn.subjects
    found: Bool[np.ndarray, " synthetic"] = ((distances(synthetic, drawn) < cut) & is_other).any(1)
    return found
