"""The risk of an attack: what it gains on members beyond what it gains on controls.

An attack succeeds on some of its tries for reasons that are no leak; controls show how often. Tries
that aim at one subject are not independent, so a bound that counts tries (as anonymeter's does) is
too narrow. Here the spread comes from leaving out one subject at a time, which on average does not
understate it (Efron & Stein, Ann. Stat. 1981), and Wilson's bounds are taken at the effective
number of tries that has this spread (Kish, Survey Sampling, 1965).
"""

from dataclasses import dataclass, replace
from math import hypot, sqrt

import numpy as np
from jaxtyping import Float
from scipy import stats

from privacy.evidence import CONFIDENCE, Interval


@dataclass(frozen=True)
class Share:
    """A share of successes, and how many independent tries would know it as well."""

    value: float
    weight: float

    def wilson(self, z: float) -> tuple[float, float]:
        """Center and half width of Wilson's interval."""
        n, p = self.weight, self.value
        half = z / (n + z * z) * sqrt(n * p * (1 - p) + z * z / 4)
        return (n * p + z * z / 2) / (n + z * z), half


def jackknifed(
    value: float, left_out: Float[np.ndarray, " subjects"], num_tries: int, own: float = 0.0
) -> Share:
    """A share from its values with each subject left out; `own` is the variance of the tries.

    Where nothing or everything succeeded there is no spread to see: then subjects count, not tries.
    """
    n = len(left_out)
    variance = (n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()) + own
    if variance <= 0 or not 0 < value < 1:
        return Share(value, float(max(min(num_tries, n), 1)))
    return Share(value, min(max(value * (1 - value) / variance, 1.0), float(num_tries)))


def share_by_subject(
    hits: Float[np.ndarray, " subjects"], tries: Float[np.ndarray, " subjects"]
) -> Share:
    """The share of all hits in all tries, the tries at one subject belonging together."""
    hits, tries = hits[tries > 0], tries[tries > 0]
    others = np.maximum(tries.sum() - tries, 1)
    value = float(hits.sum() / tries.sum())
    return jackknifed(value, (hits.sum() - hits) / others, int(tries.sum()))


@dataclass(frozen=True)
class Tries:
    """One sort of attack: how many tries each group saw, and how often they succeeded."""

    name: str
    num_tries: int
    members: Share
    controls: Share

    def risk(self, num_looks: int = 1) -> Interval:
        """(members - controls) / (1 - controls), its error as in Giomi et al., section 3.2.

        The low bound holds for all of `num_looks` such intervals at once (Bonferroni).
        """
        a, c = self.members.value, self.controls.value
        estimate = (a - c) / (1 - c) if c < 1 else 0.0
        low = self._bound(float(stats.norm.ppf(1 - (1 - CONFIDENCE) / num_looks)), -1)
        high = self._bound(float(stats.norm.ppf(CONFIDENCE)), 1)
        return Interval(estimate, min(low, estimate), max(high, estimate))

    def grown(self, factor: float) -> "Tries":
        """What so many times the subjects would know, if the shares stayed."""
        groups = (self.members, self.controls)
        members, controls = (Share(g.value, g.weight * factor) for g in groups)
        return replace(self, members=members, controls=controls)

    def _bound(self, z: float, sign: int) -> float:
        (a, half_a), (c, half_c) = self.members.wilson(z), self.controls.wilson(z)
        half = hypot(half_a / (1 - c), half_c * (1 - a) / (1 - c) ** 2)
        return min((a - c) / (1 - c) + sign * half, 1.0)
