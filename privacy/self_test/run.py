"""The self-test: copies are planted, and the screen is broken on purpose; both must show."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from privacy.access import Access
from privacy.attacks.consistency import Consistency, consistency
from privacy.attacks.partition import Partition, partition
from privacy.folds import Fold, RealFolds
from privacy.planted import Redream, part_other_scans, plant, why_not
from privacy.policy import Policy
from privacy.screen.decide import Scores, Screen, Tick
from privacy.screen.detector import num_lessons
from privacy.self_test.result import Counts, SelfTest

SEED = 20260101
NUM_COPIES = 100  # of the cohort of copies
NUM_COMPARED = 10  # copies of each kind that every seed's detector sees

Volumes = Float[np.ndarray, "n i j k"]
Calibrate = Callable[[RealFolds, int], Screen]
"""The screen of these folds, its detector fitted from this seed."""


@dataclass(frozen=True, eq=False)
class Bench:
    """Whose copies are planted, under which policy, and how a screen is made."""

    folds: RealFolds
    policy: Policy
    access: Access
    redream: Redream | None
    calibrate: Calibrate
    tick: Tick

    def copies(self, kind: str, at_most: int) -> Volumes | str:
        """Copies of one scan each of train subjects; or why there are none."""
        reason = self.why_not(kind)
        if reason is not None:
            return reason
        train = self.folds.train
        scans = train.volumes[pick(train, at_most, SEED)]
        return plant(
            kind, scans, np.roll(scans, 1, axis=0), seed=SEED,
            round_trip=self.access.round_trip, redream=self.redream,
        )  # fmt: skip

    def why_not(self, kind: str) -> str | None:
        """Why a kind cannot be planted here; None where it can."""
        return why_not(
            kind,
            self.folds.shape[2],
            round_trip=self.access.round_trip,
            redream=self.redream,
        )


def run_self_test(bench: Bench, screen: Screen) -> SelfTest:
    """Put the judge's own screen, whose detector's seed is 0, to the test."""
    found, blinded, emptied = _battery(bench, screen)
    train = bench.folds.train
    copies = train.volumes[pick(train, NUM_COPIES, SEED + 2)]
    scores = screen.match(copies, bench.tick)
    cast = screen.match(cast_to_whole_numbers(copies), bench.tick)
    return SelfTest(
        found=found,
        copies=members_and_controls(screen, scores, bench.folds, SEED),
        blinded=_sum(blinded),
        emptied=_sum(emptied),
        misnormalized=count(screen.rejects(cast)),
        other_scan=_other_scan(bench),
        consistency=_consistency(bench, screen),
    )


def planted_kinds(policy: Policy) -> dict[str, int]:
    """Every kind that the policy names, and how many copies of it."""
    must, hard = policy.screen_power, policy.screen_power_hard
    kinds = dict.fromkeys(must.must_catch, must.num_planted)
    return kinds if hard is None else kinds | dict.fromkeys(hard.kinds, hard.num_planted)


def _battery(
    bench: Bench, screen: Screen
) -> tuple[dict[str, Counts | str], list[Counts], list[Counts]]:
    """(found, planted) per kind; then the same by a blinded and by an emptied screen."""
    no_threshold, no_scans = screen.blinded(), screen.emptied()
    found: dict[str, Counts | str] = {}
    blinded: list[Counts] = []
    emptied: list[Counts] = []
    for kind, num_planted in planted_kinds(bench.policy).items():
        copies = bench.copies(kind, num_planted)
        if isinstance(copies, str):
            found[kind] = copies
            continue
        scores = screen.match(copies, bench.tick)
        found[kind] = count(screen.rejects(scores))
        blinded.append(count(no_threshold.rejects(scores)))
        emptied.append(count(no_scans.rejects(no_scans.match(copies, _untold))))
    return found, blinded, emptied


def cast_to_whole_numbers(volumes: Volumes) -> Volumes:
    """The commonest wrong normalization: values in [0, 1] cut to 0 or 1.

    A wrong factor alone breaks nothing: local contrast does not know it.
    """
    whole: Volumes = np.floor(volumes).astype(np.float32)
    return whole


def _consistency(bench: Bench, screen: Screen) -> Consistency | None:
    """The flags of several seeds' detectors on the same planted and innocent scans."""
    asked = bench.policy.consistency
    if asked is None:
        return None
    others = (bench.calibrate(bench.folds, seed) for seed in range(1, asked.num_seeds))
    return consistency(np.stack([_flags(bench, screen), *(_flags(bench, s) for s in others)]))


def _flags(bench: Bench, screen: Screen) -> Bool[np.ndarray, " scans"]:
    """Planted copies of every kind, and calibration subjects as scored before they joined."""
    planted = [
        bench.copies(kind, min(number, NUM_COMPARED))
        for kind, number in planted_kinds(bench.policy).items()
    ]
    flags = [
        screen.rejects(screen.match(copies, bench.tick))
        for copies in planted
        if not isinstance(copies, str)
    ]
    return np.concatenate([*flags, screen.null > screen.threshold])


def _other_scan(bench: Bench) -> Counts | None:
    stays, taken = part_other_scans(bench.folds.train, SEED)
    if not taken.num_subjects:
        return None
    folds = bench.folds
    known = RealFolds(stays, folds.control, folds.calibration)
    screen = bench.calibrate(known, 0)
    return count(screen.rejects(screen.match(taken.volumes, bench.tick)))


def num_queries(bench: Bench) -> int:
    """How many queries a self-test ticks, its further calibrations included."""
    folds, asked = bench.folds, bench.policy.consistency
    people = folds.train.num_subjects
    kinds = {
        kind: min(number, people)
        for kind, number in planted_kinds(bench.policy).items()
        if bench.why_not(kind) is None
    }
    stays, taken = part_other_scans(folds.train, SEED)
    seeds = 0 if asked is None else asked.num_seeds
    compared = sum(min(number, NUM_COMPARED) for number in kinds.values())
    calibrated = [folds] * max(seeds - 1, 0)
    if taken.num_subjects:
        calibrated.append(RealFolds(stays, folds.control, folds.calibration))
    return (
        sum(kinds.values())
        + 2 * min(NUM_COPIES, people)
        + seeds * compared
        + taken.num_subjects
        + sum(num_null_queries(known, bench.access) for known in calibrated)
    )


def num_null_queries(folds: RealFolds, access: Access) -> int:
    """How many queries one calibration ticks."""
    rounds = 1 if access.round_trip is None else 2
    lessons = num_lessons(len(folds.train.volumes) + len(folds.control.volumes))
    return lessons + rounds * len(folds.calibration.volumes)


def members_and_controls(screen: Screen, scores: Scores, folds: RealFolds, seed: int) -> Partition:
    """The partition of what was scored."""
    members = scores.by_subject(np.unique(folds.train.subjects))
    controls = scores.by_subject(np.unique(folds.control.subjects))
    return partition(members, controls, screen.threshold, seed)


def pick(fold: Fold, at_most: int, seed: int) -> Int[np.ndarray, " picked"]:
    """One scan each of at most that many subjects, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(fold.subjects))
    _, first = np.unique(fold.subjects[order], return_index=True)
    return np.random.default_rng([seed, 1]).permutation(order[first])[:at_most]


def count(rejected: Bool[np.ndarray, " n"]) -> Counts:
    """(flagged, all)."""
    return int(rejected.sum()), len(rejected)


def _sum(counts: Iterable[Counts]) -> Counts:
    pairs = [*counts]
    return sum(hits for hits, _ in pairs), sum(planted for _, planted in pairs)


def _untold(number: int) -> None:
    """A tick for queries that the total does not count."""
