"""Partition test: are members resembled more often than people the generator never saw?

For every subject of train and control the largest S of any synthetic scan against its scans, by
the screen's own code, before screening. The folds were drawn at random, so without leakage members
and controls are exchangeable; a resemblance alone accuses nobody. Idea: "Phantoms and Disclosures",
arXiv 2606.16952.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from privacy.evidence import Interval, residual_excess

LAXER_CUTS = (0.05, 0.10, 0.20)  # upper shares of all subjects
_PERMUTATIONS = 9999
_BLOCK = 1000


@dataclass(frozen=True)
class Partition:
    """Disclosed and all subjects of both groups; joint p over all cuts and both tails."""

    members: tuple[int, int]
    controls: tuple[int, int]
    p_value: float

    @property
    def excess(self) -> Interval:
        """Members' share minus controls' share, residual form."""
        return residual_excess(self.members, self.controls)


def partition(
    members: Float[np.ndarray, " members"],
    controls: Float[np.ndarray, " controls"],
    threshold: float,
    seed: int,
) -> Partition:
    """Compare the largest S of each member with that of each control."""
    pooled = np.concatenate([members, controls])
    is_member = np.arange(len(pooled)) < len(members)
    hits = np.stack([pooled > cut for cut in _cuts(pooled, threshold)])
    return Partition(
        (int((members > threshold).sum()), len(members)),
        (int((controls > threshold).sum()), len(controls)),
        _joint_p(hits, is_member, np.random.default_rng(seed)),
    )


def _cuts(pooled: Float[np.ndarray, " n"], threshold: float) -> list[float]:
    return [threshold, *(float(np.quantile(pooled, 1 - s, method="lower")) for s in LAXER_CUTS)]


def _joint_p(
    hits: Bool[np.ndarray, "cuts n"], is_member: Bool[np.ndarray, " n"], rng: np.random.Generator
) -> float:
    """Permuting subjects: how often the largest deviation of any cut is as large as observed."""
    observed = _largest_deviation(hits, is_member[None])[0]
    as_large = 0
    for start in range(0, _PERMUTATIONS, _BLOCK):
        num = min(_BLOCK, _PERMUTATIONS - start)
        shuffled = rng.permuted(np.tile(is_member, (num, 1)), axis=1)
        as_large += int((_largest_deviation(hits, shuffled) >= observed - 1e-12).sum())
    return (1 + as_large) / (1 + _PERMUTATIONS)


def _largest_deviation(
    hits: Bool[np.ndarray, "cuts n"], is_member: Bool[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """Largest |z| over the cuts, z by the hypergeometric mean and spread."""
    n, num_members = hits.shape[1], is_member[0].sum()
    totals, share = hits.sum(1), num_members / n
    disclosed = is_member.astype(np.float64) @ hits.T.astype(np.float64)
    variance = totals * share * (1 - share) * (n - totals) / (n - 1)
    deviation = np.abs(disclosed - totals * share) / np.sqrt(np.maximum(variance, 1e-12))
    largest: Float[np.ndarray, " draws"] = np.where(variance > 0, deviation, 0).max(1)
    return largest
