"""The screen: one statistic, one threshold, set on subjects that nobody has looked at before.

S is the detector's largest channel, each in units of its own tail. A calibration subject's S is
its largest over its scans and their autoencoder round trips; the k-th largest of these is the
threshold, with k such that a fresh subject of the same population is flagged with probability at
most alpha, at 95 % confidence over the calibration draw: the rate follows Beta(k, n + 1 - k) (Bates
et al., Ann. Stat. 2023, arXiv 2104.08279).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from medsynth.core.protocols import RoundTrip
from privacy.evidence import CONFIDENCE
from privacy.folds import Fold, RealFolds
from privacy.screen.detector import Detector
from privacy.screen.frames import to_views
from privacy.screen.gallery import Gallery

Tick = Callable[[int], None]
"""Called with the number of queries just scored."""


def allowed_rank(n: int, alpha: float) -> int:
    """The largest k with P[Beta(k, n + 1 - k) > alpha] <= 5 %; 0 where n is too small for any."""
    ranks = np.arange(1, n + 1)
    holds = stats.beta.sf(alpha, ranks, n + 1 - ranks) <= 1 - CONFIDENCE
    return int(ranks[holds].max(initial=0))


def production_alpha(alpha: float, num_scored: int, num_calibration: int) -> float:
    """Alpha for the null's index, which calibration has not joined yet."""
    return alpha * num_scored / (num_scored + num_calibration)


def subjects_needed(alpha: float, num_scored: int, num_calibration: int) -> int:
    """Calibration subjects from which a threshold exists, at today's shares of the folds."""
    stricter = production_alpha(alpha, num_scored, num_calibration)
    return ceil(log(1 - CONFIDENCE) / log(1 - stricter))


def conformal_p(
    null: Float[np.ndarray, " subjects"], scores: Float[np.ndarray, " queries"]
) -> Float[np.ndarray, " queries"]:
    """(1 + how many subjects of the null score as high) / (subjects + 1)."""
    above = len(null) - np.searchsorted(np.sort(null), scores, side="left")
    return (1 + above) / (len(null) + 1)


@dataclass(frozen=True, eq=False)
class Screen:
    """Every real scan, the detector, the null and the threshold."""

    gallery: Gallery
    detector: Detector
    null: Float[np.ndarray, " subjects"]
    threshold: float
    rank: int
    num_missing: int

    @classmethod
    def calibrate(
        cls,
        folds: RealFolds,
        alpha: float,
        round_trip: RoundTrip | None,
        tick: Tick,
        seed: int = 0,
    ) -> "Screen":
        """Fit on train and control alike, rank calibration.

        The seed draws the variants of references from which the whitening learns, and the
        disguised ones from which the detector does.
        """
        train, control, calibration = folds.train, folds.control, folds.calibration
        known = np.concatenate([train.volumes, control.volumes])
        gallery = Gallery.fit(known, np.concatenate([train.subjects, control.subjects]), seed)
        detector = Detector.fit(gallery, to_views(known), tick, seed)
        scoring = cls(gallery, detector, np.zeros(0), np.inf, 0, 0)
        null = _null(scoring, calibration, round_trip, tick)
        num_scored = train.num_subjects + control.num_subjects
        rank = allowed_rank(len(null), production_alpha(alpha, num_scored, len(null)))
        needed = subjects_needed(alpha, num_scored, len(null))
        return replace(
            scoring,
            gallery=gallery.extend(calibration.volumes, calibration.subjects),
            null=null,
            threshold=float(np.sort(null)[-max(rank, 1)]),
            rank=rank,
            num_missing=0 if rank else needed - len(null),
        )

    def match(self, volumes: Float[np.ndarray, "n i j k"], tick: Tick) -> "Scores":
        """Every query against the index."""
        found = self.gallery.match(volumes, tick)
        by_view = self.detector.channels(found).max(-1)
        return Scores(
            found.subjects.reshape(len(volumes), -1),
            by_view.reshape(len(volumes), -1),
            found.is_exact,
        )

    def rejects(self, scores: "Scores") -> Bool[np.ndarray, " queries"]:
        """Copied to the voxel, or above the threshold."""
        return scores.is_exact | (scores.largest > self.threshold)

    def blinded(self) -> "Screen":
        """A screen whose threshold nothing reaches: a control of the judge itself."""
        return replace(self, threshold=np.inf)

    def emptied(self) -> "Screen":
        """A screen that knows no real scan: a control of the judge itself."""
        return replace(self, gallery=self.gallery.emptied())


@dataclass(frozen=True, eq=False)
class Scores:
    """S of each query against each candidate subject."""

    subjects: Int[np.ndarray, "queries candidates"]
    values: Float[np.ndarray, "queries candidates"]
    is_exact: Bool[np.ndarray, " queries"]

    @property
    def largest(self) -> Float[np.ndarray, " queries"]:
        """S of each query."""
        largest: Float[np.ndarray, " queries"] = self.values.max(1, initial=-np.inf)
        return largest

    def by_subject(self, subjects: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The largest S of any query against each subject; -inf where never a candidate."""
        highest = max(int(subjects.max()), int(self.subjects.max(initial=0)))
        best = np.full(highest + 1, -np.inf)
        np.maximum.at(best, self.subjects, self.values)
        return np.array(best[subjects])


def _null(
    screen: Screen, calibration: Fold, round_trip: RoundTrip | None, tick: Tick
) -> Float[np.ndarray, " subjects"]:
    largest = screen.match(calibration.volumes, tick).largest
    if round_trip is not None:
        returned = np.clip(round_trip(calibration.volumes), 0, 1).astype(np.float32)
        largest = np.maximum(largest, screen.match(returned, tick).largest)
    owners = np.unique(calibration.subjects)
    return np.array([largest[calibration.subjects == owner].max() for owner in owners])
