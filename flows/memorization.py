"""Memorization of one cohort by the judge's screen, in two numbers that may leave.

How many scans the screen rejects (rounded up), and by how much members are resembled more often
than people whom no model saw. No score of a real scan comes out of here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from medsynth.core.stage import Artifact
from medsynth.evaluate.metrics import Metric
from privacy.evidence import rate, rounded_up
from privacy.folds import RealFolds
from privacy.screen.decide import Screen
from privacy.self_test.run import members_and_controls


@dataclass(frozen=True, eq=False)
class Memory:
    """The screen of a prepared folder, and the folds that it knows."""

    folds: RealFolds
    screen: Screen
    seed: int

    @classmethod
    def of(cls, prepared: Artifact, alpha: float, seed: int) -> "Memory":
        """A screen calibrated at alpha; its null holds no round trips, for models differ there."""
        folds = RealFolds.from_prepared(prepared)
        return cls(folds, Screen.calibrate(folds, alpha, None, _untold, seed), seed)

    def measure(self, volumes: Float[np.ndarray, "n i j k"]) -> dict[str, Metric]:
        """Share rejected, members' excess with its bounds, and the partition's p-value."""
        scores = self.screen.match(volumes, _untold)
        count = rounded_up(int(self.screen.rejects(scores).sum()))
        rejected = rate(min(count, len(volumes)), len(volumes))
        found = members_and_controls(self.screen, scores, self.folds, self.seed)
        excess, n = found.excess, found.controls[1]
        return {
            "rejected": Metric(rejected.estimate, None, rejected.low, rejected.high, len(volumes)),
            "members_excess": Metric(excess.estimate, 0.0, excess.low, excess.high, n),
            "members_p": Metric(found.p_value, n=n),
        }


def _untold(number: int) -> None:
    """Nobody watches the single queries."""
