"""Side channel of the screen: does its answer tell who the generator learned from?

Whoever may hand in scans and sees which are rejected asks about scans near a target: the target
mixed, step by step, with scans of nobody. If members were compared with more closely than others,
their mixtures would be rejected longer. A screen whose index holds train and control alike must
give nothing away; one that knows train alone must, or the attack is too weak to show anything.

Debenedetti et al., "Privacy side channels in machine learning systems", USENIX Security 2024;
Annamalai, Ganev & De Cristofaro on filters by similarity, arXiv 2312.05114. Bounds of the AUC:
DeLong et al., Biometrics 1988.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from privacy.attacks.membership_scores import auc_and_spread
from privacy.evidence import CONFIDENCE, Interval
from privacy.screen.decide import Screen

NUM_QUERIES = 2000
_LARGEST, _SMALLEST = 0.8, 0.4  # share of the target in a mixture
_FEWEST, _MOST = 2, 8  # mixtures of one target
_NOISE = 0.03  # of the intensity window

Volumes = Float[np.ndarray, "n i j k"]
Rejects = Callable[[Volumes], Bool[np.ndarray, " n"]]
"""All that the attacker may ask: a whole batch in, a bit for each scan out."""


@dataclass(frozen=True)
class SideChannel:
    """How well the bits tell members from controls, and what it took.

    The AUC is that of the better direction: fewer rejections of members tell as much as more.
    """

    auc: Interval
    num_members: int
    num_controls: int
    num_queries: int


def side_channel(
    rejects: Rejects,
    members: Float[np.ndarray, "members i j k"],
    controls: Float[np.ndarray, "controls i j k"],
    strangers: Float[np.ndarray, "strangers i j k"],
    *,
    num_queries: int = NUM_QUERIES,
    seed: int = 0,
) -> SideChannel:
    """Attack with at most so many queries, spread evenly over equally many targets of both kinds.

    `members` and `controls` hold one scan per subject; `strangers` are the attacker's own scans,
    of nobody in the index.
    """
    rng = np.random.default_rng(seed)
    each = min(num_queries // (2 * _FEWEST), len(members), len(controls))
    if each < 2 or not len(strangers):
        raise ValueError(f"the attack needs strangers and 2 targets of both kinds, got {each}")
    num_mixtures = min(num_queries // (2 * each), _MOST)
    picked = [group[rng.permutation(len(group))[:each]] for group in (members, controls)]
    targets = np.concatenate(picked)
    bits = rejects(_mixtures(targets, strangers, num_mixtures, rng))
    counts = bits.reshape(num_mixtures, len(targets)).sum(0).astype(np.float64)
    return SideChannel(_either_way(counts, np.arange(len(targets)) < each), each, each, len(bits))


def members_only(screen: Screen, members: Bool[np.ndarray, " references"]) -> Screen:
    """The screen with some of its references alone: what gives membership away, as a control."""
    owners = np.unique(screen.gallery.owners[members])
    return replace(screen, gallery=screen.gallery.restricted(owners))


def bits_of(screen: Screen) -> Rejects:
    """What a screen lets an asker see."""
    return lambda volumes: screen.rejects(screen.match(volumes, lambda count: None))


def _mixtures(
    targets: Float[np.ndarray, "targets i j k"],
    strangers: Float[np.ndarray, "strangers i j k"],
    num_mixtures: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "mixtures i j k"]:
    """Each target mixed with a stranger in falling shares, a little noise on top."""
    others = strangers[rng.integers(len(strangers), size=len(targets))]
    shares = np.linspace(_LARGEST, _SMALLEST, num_mixtures)
    mixed = np.concatenate([share * targets + (1 - share) * others for share in shares])
    noisy = np.clip(mixed + _NOISE * rng.standard_normal(mixed.shape), 0, 1)
    return np.array(noisy.astype(np.float32))


def _either_way(
    counts: Float[np.ndarray, " targets"], is_member: Bool[np.ndarray, " targets"]
) -> Interval:
    """The AUC of the counts between its bounds, mirrored where that is larger."""
    estimate, spread = auc_and_spread(counts, is_member)
    reach = float(stats.norm.ppf(CONFIDENCE)) * spread
    low, high = estimate - reach, estimate + reach
    return Interval(max(estimate, 1 - estimate), max(low, 1 - high), min(max(high, 1 - low), 1.0))
