"""One-run canary audit: what a twin of the generator tells of scans that it saw by a coin's fall.

Each canary is added to the twin's train fold or left out by a fair coin; afterwards the twin is
asked which is which. An (epsilon, delta)-private training keeps any guesser near chance, so good
guesses refute small epsilons. Reference: Steinke, Nasr & Jagielski, "Privacy Auditing with One (1)
Training Run", NeurIPS 2023, theorem 5.2. A low bound refutes; it never proves a training private.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit
from scipy.stats import binom

from medsynth.core.protocols import Denoiser, TrainTwin
from medsynth.core.schema import Attributes
from privacy.attacks.canary_scans import Canaries
from privacy.evidence import CONFIDENCE

DELTA = 1e-5
_LARGEST = 50.0  # beyond which no epsilon is a promise

Score = Callable[
    [Denoiser, Float[np.ndarray, "m i j k"], Sequence[Attributes]], Float[np.ndarray, " m"]
]
"""How much each scan looks like a member to whoever holds the weights; larger is more."""


@dataclass(frozen=True)
class CanaryAudit:
    """Canaries, guesses made, right ones, and the bound that they give at `delta`."""

    num_canaries: int
    num_guesses: int
    num_right: int
    delta: float

    @property
    def epsilon(self) -> float:
        """The largest epsilon that the guesses refute, with 95 % confidence."""
        return epsilon_bound(self.num_canaries, self.num_guesses, self.num_right, self.delta)


def audit_canaries(
    train_twin: TrainTwin, score: Score, canaries: Canaries, *, seed: int, delta: float = DELTA
) -> CanaryAudit:
    """Train the twin with the canaries whose coin fell, and guess half of the coins."""
    is_member = np.random.default_rng(seed).random(len(canaries)) < 0.5
    twin = train_twin(*canaries.take(np.flatnonzero(is_member)))
    scores = score(twin, canaries.volumes, canaries.attributes)
    return count_guesses(scores, is_member, len(canaries) // 2, delta)


def count_guesses(
    scores: Float[np.ndarray, " m"], is_member: Bool[np.ndarray, " m"], num_guesses: int,
    delta: float,
) -> CanaryAudit:  # fmt: skip
    """Guess "member" of the highest scores and "left out" of the lowest, as many of each."""
    order, half = np.argsort(scores, kind="stable"), num_guesses // 2
    members: Int[np.ndarray, " half"] = order[len(order) - half :]
    left_out: Int[np.ndarray, " rest"] = order[: num_guesses - half]
    num_right = int(is_member[members].sum() + (~is_member[left_out]).sum())
    return CanaryAudit(len(scores), num_guesses, num_right, delta)


def epsilon_bound(
    num_canaries: int, num_guesses: int, num_right: int, delta: float = DELTA
) -> float:
    """The supremum of the epsilons whose p-value lies below 5 %; 0 where none does."""

    def refutes(epsilon: float) -> bool:
        return p_value(epsilon, num_canaries, num_guesses, num_right, delta) < 1 - CONFIDENCE

    low, high = 0.0, _LARGEST
    if not refutes(low):
        return 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if refutes(middle) else (low, middle)
    return low


def p_value(
    epsilon: float, num_canaries: int, num_guesses: int, num_right: int, delta: float
) -> float:
    """The chance of so many right guesses, at most, under an (epsilon, delta)-private training.

    P[B >= v] + 2 m delta max_i P[v > B >= v - i] / i, with B ~ Bin(r, e^eps / (1 + e^eps)).
    """
    q = float(expit(epsilon))
    tail = float(binom.sf(num_right - 1, num_guesses, q))
    i = np.arange(1, num_right + 1)
    upto = binom.cdf(num_right - 1, num_guesses, q)
    below = (upto - binom.cdf(num_right - i - 1, num_guesses, q)) / i
    slack = float(below.max(initial=0.0))
    return min(1.0, tail + 2 * num_canaries * delta * slack)
