"""Copying: does the cohort as a whole lie closer to members than fresh people do?

Four questions, each with controls, whose scans the generator never saw.

- Ratio: scans more than three times as far from the second nearest member as from the nearest
  (Gu et al., arXiv 2310.02664, after Yoon et al. 2023), against controls among the same members.
- Authenticity (Alaa et al., ICML 2022): a scan is no original if it is nearer to a real person
  than that person's own neighbor is. Members and controls are taken in sets of one size, and the
  people count, not the scans: one damaged scan can be the neighbor of half a cohort.
- C_T: `copying_cells`. Duplicates: `duplicates`.

Proposed here: both groups in the same role instead of the cohort's authenticity against that of
fresh people, which accuses any generator of too little variety; and the margin of 4/5, without
which hubs drown every copy.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Float

from privacy.attacks.copying_cells import copied_p
from privacy.attacks.copying_features import Features, apart_from_own, by_subject, distances
from privacy.attacks.duplicates import duplicates
from privacy.evidence import CONFIDENCE, Interval, rate, residual_excess

RATIO = 1 / 3  # of the nearest to the second nearest distance
MARGIN = 4 / 5  # of a person's distance to the next, within which a scan is no original
_DRAWS = 1000  # of the bootstrap, and of the permutation that it may not undercut

Counts = tuple[int, int]
"""Hits, and of how many."""


@dataclass(frozen=True)
class Copying:
    """Counts of the cohort and of controls; the authenticity difference; p of C_T."""

    near: Counts
    near_controls: Counts
    duplicates: Counts
    duplicate_controls: Counts
    authenticity: Interval
    p_value: float

    @property
    def ratio_excess(self) -> Interval:
        """Share of scans far nearer to one member than to the second, in excess of controls."""
        return residual_excess(self.near, self.near_controls)

    @property
    def duplicate_excess(self) -> Interval:
        """Share of scans with a duplicate, in excess of controls."""
        return residual_excess(self.duplicates, self.duplicate_controls)


def copying(synthetic: Features, members: Features, controls: Features, seed: int) -> Copying:
    """Attack a cohort before its screening."""
    rng = np.random.default_rng(seed)
    one_member, one_control = members.one_each(rng), controls.one_each(rng)
    to_members = by_subject(distances(synthetic, members), members.subjects)
    to_controls = by_subject(distances(synthetic, controls), controls.subjects)
    of_controls = by_subject(distances(one_control, members), members.subjects)
    repeated, repeated_controls = duplicates(synthetic, members, controls, rng)
    return Copying(
        near=_near(to_members),
        near_controls=_near(of_controls),
        duplicates=repeated,
        duplicate_controls=repeated_controls,
        authenticity=_authenticity(synthetic, members, controls, rng),
        p_value=copied_p(
            np.concatenate([to_members, to_controls], 1),
            np.arange(len(one_member) + len(one_control)) < len(one_member),
            synthetic.vectors,
            one_member.join(one_control).vectors,
            rng,
        ),
    )


def _near(to_members: Float[np.ndarray, "queries members"]) -> Counts:
    """How many queries are far nearer to one member than to every other."""
    if to_members.shape[1] < 2:
        return 0, len(to_members)
    first, second = np.partition(to_members, 1, axis=1)[:, :2].T
    return int((first < RATIO * second).sum()), len(to_members)


def _authenticity(
    synthetic: Features, members: Features, controls: Features, rng: np.random.Generator
) -> Interval:
    """Share of originals with respect to members less that to controls.

    Bounds by patient bootstrap, never narrower than those of permuting patients: few people make
    most scans unoriginal, and what one has not drawn a bootstrap cannot resample.
    """
    size = members.num_subjects // ceil(members.num_subjects / controls.num_subjects)
    of_members = _claims(synthetic, members, size, rng)
    of_controls = _claims(synthetic, controls, size, rng)
    num = len(of_members)
    estimate = num * float(of_controls.mean() - of_members.mean())
    by_chance = estimate + num * _shuffled_differences(of_members, of_controls, rng)
    resampled = num * (_resampled_means(of_controls, rng) - _resampled_means(of_members, rng))
    unseen = rate(0, len(synthetic)).high  # what so many scans need not show even once
    ends = [np.quantile(draws, [1 - CONFIDENCE, CONFIDENCE]) for draws in (by_chance, resampled)]
    lows, highs = zip(*ends, (estimate - unseen, estimate + unseen), strict=True)
    return Interval(estimate, float(min(lows)), float(max(highs)))


def _claims(
    synthetic: Features, people: Features, size: int, rng: np.random.Generator
) -> Float[np.ndarray, " people"]:
    """Share of the cohort that each person makes unoriginal, among sets of `size` people."""
    subjects = rng.permutation(np.unique(people.subjects))
    sets = subjects[: len(subjects) // size * size].reshape(-1, size)
    return np.concatenate([_claims_within(synthetic, people.of(chosen)) for chosen in sets])


def _claims_within(synthetic: Features, people: Features) -> Float[np.ndarray, " people"]:
    found, own = distances(synthetic, people), apart_from_own(people).min(1)
    nearest = found.argmin(1)
    claimed = people.subjects[nearest[found.min(1) < MARGIN * own[nearest]]]
    subjects = np.unique(people.subjects)
    return np.bincount(np.searchsorted(subjects, claimed), minlength=len(subjects)) / len(synthetic)


def _shuffled_differences(
    of_members: Float[np.ndarray, " members"],
    of_controls: Float[np.ndarray, " controls"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " draws"]:
    """Controls' mean less members', people permuted: how far hubs alone carry the difference."""
    draws = rng.permuted(np.tile(np.concatenate([of_members, of_controls]), (_DRAWS, 1)), axis=1)
    shuffled: Float[np.ndarray, " draws"] = draws[:, len(of_members) :].mean(1) - draws[
        :, : len(of_members)
    ].mean(1)
    return shuffled


def _resampled_means(
    shares: Float[np.ndarray, " people"], rng: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    drawn = rng.integers(0, len(shares), (_DRAWS, len(shares)))
    means: Float[np.ndarray, " draws"] = shares[drawn].mean(1)
    return means
