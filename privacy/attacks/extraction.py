"""Extraction: draws aimed at single members, and whether they bring them back.

Two questions are asked of the draws: does the screen match one to its very target, and are so many
alike that an attacker who knows no scan would take them for a memory (cliques)? With a denoiser a
third: does the condition move its prediction further than conditions of people it never saw
(m(c), Wen et al., arXiv 2407.21720)? Only the first decides; the others say where to look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from medsynth.core.protocols import Denoiser, Draw, RoundTrip, Voxels
from medsynth.core.schema import Attributes
from privacy.attacks.extraction_cliques import clique_size, nearest, tile_distances
from privacy.attacks.extraction_targets import Rows, pick_targets
from privacy.evidence import Interval, rate
from privacy.folds import Fold, RealFolds

GUIDANCES = (0.0, 1.0, 3.0, 6.0)
NUM_DRAWS = 64  # at each guidance
CLIQUE = 10
STRIKING = 3.0  # sds of m(c) above the mean of strangers
_NEAREST_SHARE = 0.01
_NUM_STRANGERS = 64
_NUM_STEPS, _NUM_NOISES = 10, 4  # of m(c)

IsHit = Callable[[Voxels, int], Bool[np.ndarray, " n"]]
"""(draws, number of a subject) to whether the screen refuses each draw because of this subject."""


@dataclass(frozen=True)
class Extraction:
    """Draws aimed at members, how many hit their target, and how many targets were hit.

    `cliques` counts the targets whose draws hold ten or more of one picture; `striking` those
    whose condition moves the prediction strikingly far, None where nobody could look.
    """

    num_targets: int
    draws: int
    hits: int
    targets_hit: int
    cliques: int
    striking: int | None

    @property
    def bound(self) -> Interval:
        """Share of the draws that hit, exact; draws aimed at different targets hit at different
        rates, for whose mean the binomial bound holds, too (Hoeffding, Ann. Math. Stat. 1956).
        """
        return rate(self.hits, self.draws)


def extraction(
    folds: RealFolds,
    draw: Draw,
    is_hit: IsHit,
    *,
    num_draws: int = NUM_DRAWS,
    denoiser: Denoiser | None = None,
    round_trip: RoundTrip | None = None,
    seed: int,
) -> Extraction:
    """Aim `num_draws` at each of 64 members at each guidance."""
    targets, radius = pick_targets(folds.train, seed), clique_radius(folds, round_trip)
    hits, cliques = [], 0
    for number, scan in enumerate(targets):
        volumes = _draws(draw, _request(folds.train, int(scan)), num_draws, [seed, number])
        hits.append(int(is_hit(volumes, int(folds.train.subjects[scan])).sum()))
        cliques += clique_size(tile_distances(volumes, volumes) <= radius) >= CLIQUE
    return Extraction(
        num_targets=len(targets),
        draws=len(targets) * len(GUIDANCES) * num_draws,
        hits=sum(hits),
        targets_hit=sum(count > 0 for count in hits),
        cliques=int(cliques),
        striking=None if denoiser is None else _num_striking(folds, targets, denoiser, seed),
    )


def _request(fold: Fold, scan: int) -> Attributes:
    return fold.attributes[scan] if fold.attributes else {}


def _draws(draw: Draw, request: Attributes, count: int, key: Sequence[int]) -> Voxels:
    """Draws at every guidance, each from seeds of its own."""
    seeds = np.random.default_rng([*key, 9]).integers(2**31, size=len(GUIDANCES)).tolist()
    pairs = zip(GUIDANCES, seeds, strict=True)
    return np.concatenate([draw([request] * count, guidance, seed) for guidance, seed in pairs])


def clique_radius(folds: RealFolds, round_trip: RoundTrip | None) -> float:
    """The distance that 1 % of controls have to their nearest stranger among all the real.

    Seen through the autoencoder where there is one: its blur brings all pictures closer.
    """
    train, control = _one_each(folds.train), _one_each(folds.control)
    if round_trip is not None:
        train, control = round_trip(train), round_trip(control)
    to_members = nearest(tile_distances(control, train))
    closest = np.minimum(to_members, nearest(tile_distances(control, control), own=True))
    return float(np.quantile(closest, _NEAREST_SHARE, method="lower"))


def _one_each(fold: Fold) -> Voxels:
    return fold.volumes[np.unique(fold.subjects, return_index=True)[1]]


def _num_striking(folds: RealFolds, targets: Rows, denoiser: Denoiser, seed: int) -> int:
    """Targets whose m(c) lies far above that of controls' attributes."""
    fold = folds.control
    others = np.random.default_rng([seed, 7]).permutation(len(fold.volumes))[:_NUM_STRANGERS]
    asked = [_request(folds.train, int(scan)) for scan in targets]
    unknown = [_request(fold, int(scan)) for scan in others]
    shape = denoiser.encode(fold.volumes[:1]).shape[1:]
    moved = condition_pull(denoiser, [*asked, *unknown], shape, seed)
    strangers = moved[len(asked) :]
    spread = max(float(strangers.std(ddof=1)), 1e-9)
    return int((moved[: len(asked)] - strangers.mean() > STRIKING * spread).sum())


def condition_pull(
    denoiser: Denoiser, requests: Sequence[Attributes], shape: tuple[int, ...], seed: int
) -> Float[np.ndarray, " requests"]:
    """m(c): how far the noise seen under c is from that under nothing, on the way to a sample."""
    condition, empty = denoiser.condition(requests), denoiser.condition(None)
    rng, moved = np.random.default_rng([seed, 8]), []
    for _ in range(_NUM_NOISES):
        z = np.repeat(rng.standard_normal((1, *shape), dtype=np.float32), len(requests), axis=0)
        for here, there in pairwise(np.linspace(1, 0, _NUM_STEPS + 1).tolist()):
            noise, clean = denoiser.predict(z, here, condition)
            unasked, _ = denoiser.predict(z, here, empty)
            moved.append(np.linalg.norm((noise - unasked).reshape(len(z), -1), axis=1))
            a, s = denoiser.path(there)
            z = (a * clean + s * noise).astype(np.float32)
    return np.asarray(np.mean(moved, axis=0), np.float64)
