"""White-box membership: does whoever holds the weights tell members from controls?

Signals of `membership_signals`, less what a scan's difficulty explains, become one score per
subject (`membership_scores`). Folds were drawn at random, so without a leak the AUC is one half.
Its standard error is DeLong's, or the spread of the same procedure under permuted membership
where that is larger: learning weights on one half ties both halves to the same chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from medsynth.core.protocols import Denoiser, RoundTrip, Voxels
from medsynth.core.schema import Attributes
from privacy.attacks.membership_scores import (
    Columns,
    Halves,
    IsMember,
    Scores,
    auc_and_spread,
    cross_fitted,
    split_in_halves,
    standardized,
)
from privacy.attacks.membership_signals import PerScan, mean_power, read_signals
from privacy.attacks.membership_strata import Mask, strata_of
from privacy.evidence import CONFIDENCE, Interval
from privacy.folds import Fold

MIN_STRATUM = 100  # members, and controls: a standard error of .04
_MIN_SUBJECTS = 8  # members, and controls, below which nothing can be learned
_PERMUTATIONS = 100


@dataclass(frozen=True)
class Membership:
    """How well members are told from controls, by one score per subject.

    `worst_stratum` is None where no stratum of the attributes holds enough subjects, `num_strata`
    counts those that do; without attributes everyone is one. The hits are members above the score
    that 1 % and .1 % of the controls exceed.
    """

    num_members: int
    num_controls: int
    auc: Interval
    worst_stratum: Interval | None
    num_strata: int
    hits_1: int
    hits_01: int


def membership(
    train: Fold,
    control: Fold,
    denoiser: Denoiser,
    *,
    round_trip: RoundTrip | None = None,
    reference: Denoiser | None = None,
    seed: int,
) -> Membership:
    """Attack a denoiser; `reference` is one of another seed or fold, for difficulty."""
    both = Fold(
        np.concatenate([train.volumes, control.volumes]),
        np.concatenate([train.subjects, control.subjects]),
        (*train.attributes, *control.attributes) if train.attributes and control.attributes else (),
    )
    signals = read_signals(denoiser, both.volumes, both.attributes, seed)
    if reference is not None:
        other = read_signals(reference, both.volumes, both.attributes, seed)
        signals = {name: signal - other[name] for name, signal in signals.items()}
    if round_trip is not None:
        signals = without_difficulty(signals, -np.log(_lost(both, round_trip)))
    members = np.isin(np.unique(both.subjects), train.subjects)
    return measure(by_subject(signals, both.subjects), members, strata_of(both), seed)


def score_scans(denoiser: Denoiser, volumes: Voxels, attributes: Sequence[Attributes]) -> PerScan:
    """How much each scan looks like a member, nothing learned: the mean of all signals."""
    signals = read_signals(denoiser, volumes, attributes, 0)
    mean: PerScan = standardized(np.stack(list(signals.values()), 1)).mean(1)
    return mean


def _lost(fold: Fold, round_trip: RoundTrip) -> PerScan:
    """Squared error of the autoencoder."""
    return mean_power(round_trip(fold.volumes) - fold.volumes, 2)


def without_difficulty(signals: Mapping[str, PerScan], ease: PerScan) -> dict[str, PerScan]:
    """Each signal less its regression on how easily the autoencoder returns a scan.

    The ease itself is one more signal: the autoencoder, too, was trained on members.
    """
    design = np.stack([np.ones_like(ease), ease], 1)
    found = {}
    for name, signal in signals.items():
        found[name] = signal - design @ np.linalg.lstsq(design, signal, rcond=None)[0]
    return found | {"reconstruction": ease}


def by_subject(signals: Mapping[str, PerScan], subjects: Int[np.ndarray, " scans"]) -> Columns:
    """Mean over each subject's scans, and the largest where any subject has several."""
    table = np.stack(list(signals.values()), 1)
    scans = [table[subjects == subject] for subject in np.unique(subjects)]
    mean = np.stack([of_one.mean(0) for of_one in scans])
    if len(scans) == len(table):
        return mean
    return np.concatenate([mean, np.stack([of_one.max(0) for of_one in scans])], 1)


def measure(columns: Columns, is_member: IsMember, strata: Sequence[Mask], seed: int) -> Membership:
    """The attack on a table of signals, one row a subject; no strata: everyone is one."""
    num_members, num_controls = int(is_member.sum()), int((~is_member).sum())
    if min(num_members, num_controls) < _MIN_SUBJECTS:
        return Membership(num_members, num_controls, Interval(0.5, 0.0, 1.0), None, 0, 0, 0)
    columns, half = standardized(columns), split_in_halves(is_member, seed)
    everyone = np.ones(len(is_member), bool)
    large = [m for m in strata if _is_large(m, is_member)] if strata else [everyone]
    groups = [everyone, *large]
    scores = cross_fitted(columns, is_member[None], half)[0]
    found = np.array([auc_and_spread(scores[mask], is_member[mask]) for mask in groups])
    aucs, delong = found.T
    spread = np.maximum(delong, _chance_spread(columns, is_member, half, groups, seed))
    return Membership(
        num_members=num_members,
        num_controls=num_controls,
        auc=_worst(aucs[:1], spread[:1]),
        worst_stratum=_worst(aucs[1:], spread[1:]) if large else None,
        num_strata=len(large),
        hits_1=_hits(scores, is_member, 0.01),
        hits_01=_hits(scores, is_member, 0.001),
    )


def _is_large(mask: Mask, is_member: IsMember) -> bool:
    return bool(min((mask & is_member).sum(), (mask & ~is_member).sum()) >= MIN_STRATUM)


def _chance_spread(
    columns: Columns, is_member: IsMember, half: Halves, groups: Sequence[Mask], seed: int
) -> Float[np.ndarray, " groups"]:
    """Sd of each group's AUC when membership is shuffled within the halves, and learned anew."""
    rng, shuffled = np.random.default_rng([seed, 3]), np.tile(is_member, (_PERMUTATIONS, 1))
    for side in (0, 1):
        shuffled[:, half == side] = rng.permuted(shuffled[:, half == side], axis=1)
    drawn = cross_fitted(columns, shuffled, half)
    aucs = [
        [auc_and_spread(scores[mask], members[mask])[0] for mask in groups]
        for scores, members in zip(drawn, shuffled, strict=True)
    ]
    return np.asarray(np.std(aucs, axis=0, ddof=1), np.float64)


def _worst(aucs: Float[np.ndarray, " groups"], spread: Float[np.ndarray, " groups"]) -> Interval:
    """The largest AUC of some groups. All lie below the largest of their upper bounds.

    That one of them lies above its lower bound holds at 95 % only for bounds that share the error
    among the groups (Bonferroni).
    """
    z = float(stats.norm.ppf(CONFIDENCE))
    z_shared = float(stats.norm.ppf(1 - (1 - CONFIDENCE) / len(aucs)))
    low, high = float(np.max(aucs - z_shared * spread)), float(np.max(aucs + z * spread))
    return Interval(float(aucs.max()), max(low, 0.0), min(high, 1.0))


def _hits(scores: Scores, is_member: IsMember, false_positive_rate: float) -> int:
    """Members above the score that this share of the controls exceeds."""
    controls = np.sort(scores[~is_member])[::-1]
    allowed = int(false_positive_rate * len(controls) + 1e-9)
    return int((scores[is_member] > controls[allowed]).sum())
