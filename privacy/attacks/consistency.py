"""Consistency: do detectors fitted from different seeds flag the same scans?

Published filters of copies disagree between seeds (arXiv 2510.01793). Agreement beyond chance is
Cohen's kappa (Educ. Psychol. Meas. 1960): (p_o - p_e) / (1 - p_e), with p_o the share of scans
that two detectors agree on and p_e the share expected of two that flag as many at random.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True)
class Consistency:
    """The smallest kappa of any two detectors, how many there were, and on how many scans."""

    smallest_kappa: float
    num_seeds: int
    num_scans: int


def consistency(flags: Bool[np.ndarray, "seeds scans"]) -> Consistency:
    """Compare every two detectors on planted and innocent scans."""
    num_seeds, num_scans = flags.shape
    if num_seeds < 2 or num_scans == 0:
        raise ValueError(f"kappa needs two detectors and a scan, got flags of shape {flags.shape}")
    return Consistency(min(kappa(a, b) for a, b in combinations(flags, 2)), num_seeds, num_scans)


def kappa(one: Bool[np.ndarray, " scans"], two: Bool[np.ndarray, " scans"]) -> float:
    """Cohen's kappa; 0 where both flag everything, or nothing: neither tells anything."""
    agreed = float((one == two).mean())
    by_chance = float(one.mean() * two.mean() + (1 - one.mean()) * (1 - two.mean()))
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
