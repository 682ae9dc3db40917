"""One cohort judged in memory: screened, attacked, and the judge itself put to the test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from medsynth.core.protocols import Redraw, RoundTrip
from medsynth.core.schema import Attributes
from medsynth.core.stage import Progress
from privacy.access import Access
from privacy.attacks.partition import Partition, partition
from privacy.evidence import Interval, rate, rounded_up
from privacy.folds import Fold, RealFolds
from privacy.gates import partition as partition_gate
from privacy.gates import power, rejection, self_test
from privacy.planted import ROUND_TRIP, plant
from privacy.policy import Policy
from privacy.screen.decide import Scores, Screen, Tick, conformal_p
from privacy.verdict import Verdict, conclude

BATTERY_SEED = 20260101
NUM_COPIES = 100  # of the self test's cohort
NUM_TRIES = 5  # redraws of a rejected scan

Volumes = Float[np.ndarray, "n i j k"]


@dataclass(frozen=True, eq=False)
class Judgment:
    """The verdict, what may be accepted, and what goes to the vault.

    `accepted` maps a position of the cohort to its redrawn volume, or to None where the
    scan as sampled passed.
    """

    verdict: Verdict
    accepted: dict[int, Float[np.ndarray, "i j k"] | None]
    rejected: Volumes
    rejected_positions: Int[np.ndarray, " rejected"]
    rejected_p: Float[np.ndarray, " rejected"]
    num_rejected: int
    num_null: int
    num_missing: int
    rank: int
    test: tuple[int, int, Interval] | None


def judge_cohort(
    volumes: Volumes,
    requests: Sequence[Attributes],
    folds: RealFolds,
    policy: Policy,
    *,
    access: Access,
    seed: int,
    progress: Progress,
) -> Judgment:
    """Screen, attack, self-test and conclude under a policy."""
    tick = _ticker(progress, _num_queries(volumes, folds, policy, access.round_trip))
    screen = Screen.calibrate(folds, policy.alpha, access.round_trip, tick)
    scores = screen.match(volumes, tick)
    refused = screen.rejects(scores)
    battery = _battery(screen, folds.train, policy, access.round_trip, tick)
    rows = [
        *power.rows(battery.found, policy, screen.num_missing),
        rejection.row(int(refused.sum()), len(volumes), policy),
        *partition_gate.rows(_partition(screen, scores, folds, seed), policy),
        *self_test.rows(
            _copies(screen, folds, seed, tick), battery.blinded, battery.emptied, policy
        ),
    ]
    test = None if folds.test is None else _fresh_rate(screen, folds.test, tick)
    replaced = _replace(screen, requests, refused, access.redraw)
    return Judgment(
        verdict=conclude(rows),
        accepted=_accepted(refused, replaced, seed),
        rejected=volumes[refused],
        rejected_positions=np.flatnonzero(refused),
        rejected_p=conformal_p(screen.null, scores.largest[refused]),
        num_rejected=rounded_up(int(refused.sum())),
        num_null=len(screen.null),
        num_missing=screen.num_missing,
        rank=screen.rank,
        test=test,
    )


def _num_queries(
    volumes: Volumes, folds: RealFolds, policy: Policy, round_trip: RoundTrip | None
) -> int:
    rounds = 1 if round_trip is None else 2
    planted = min(policy.screen_power.num_planted, folds.train.num_subjects)
    kinds = len([k for k in policy.screen_power.must_catch if k != ROUND_TRIP or rounds == 2])
    null = len(folds.control.volumes) + rounds * len(folds.calibration.volumes)
    test = 0 if folds.test is None else len(folds.test.volumes)
    copies = min(NUM_COPIES, folds.train.num_subjects)
    return null + len(volumes) + planted * kinds + copies + test


def _ticker(progress: Progress, total: int) -> Tick:
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        progress(done, total)

    return tick


def _untold(count: int) -> None:
    """A tick for queries that the total does not count."""


@dataclass(frozen=True)
class _Battery:
    """(found, planted) per kind, by the screen and by its two sabotaged twins."""

    found: dict[str, tuple[int, int] | None]
    blinded: list[tuple[int, int]]
    emptied: list[tuple[int, int]]


def _battery(
    screen: Screen, train: Fold, policy: Policy, round_trip: RoundTrip | None, tick: Tick
) -> _Battery:
    picked = _pick(train, policy.screen_power.num_planted, BATTERY_SEED)
    others = _pick(train, len(picked), BATTERY_SEED + 1)
    blinded, emptied = screen.blinded(), screen.emptied()
    battery = _Battery({}, [], [])
    for kind in policy.screen_power.must_catch:
        if kind == ROUND_TRIP and round_trip is None:
            battery.found[kind] = None
            continue
        copies = plant(
            kind, train.volumes[picked], train.volumes[others],
            seed=BATTERY_SEED, round_trip=round_trip,
        )  # fmt: skip
        scores = screen.match(copies, tick)
        battery.found[kind] = _count(screen.rejects(scores))
        battery.blinded.append(_count(blinded.rejects(scores)))
        battery.emptied.append(_count(emptied.rejects(emptied.match(copies, _untold))))
    return battery


def _count(rejected: Bool[np.ndarray, " n"]) -> tuple[int, int]:
    return int(rejected.sum()), len(rejected)


def _pick(fold: Fold, count: int, seed: int) -> Int[np.ndarray, " picked"]:
    """One scan each of at most `count` subjects, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(fold.subjects))
    _, first = np.unique(fold.subjects[order], return_index=True)
    return order[np.sort(first)[:count]]


def _partition(screen: Screen, scores: Scores, folds: RealFolds, seed: int) -> Partition:
    members = scores.by_subject(np.unique(folds.train.subjects))
    controls = scores.by_subject(np.unique(folds.control.subjects))
    return partition(members, controls, screen.threshold, seed)


def _copies(screen: Screen, folds: RealFolds, seed: int, tick: Tick) -> Partition:
    """The partition of a cohort that is nothing but train scans."""
    picked = _pick(folds.train, NUM_COPIES, BATTERY_SEED + 2)
    return _partition(screen, screen.match(folds.train.volumes[picked], tick), folds, seed)


def _fresh_rate(screen: Screen, test: Fold, tick: Tick) -> tuple[int, int, Interval]:
    """Flagged subjects of the test fold, which nothing was fitted on."""
    flagged = screen.rejects(screen.match(test.volumes, tick))
    hits = len(np.unique(test.subjects[flagged]))
    return hits, test.num_subjects, rate(hits, test.num_subjects)


def _replace(
    screen: Screen,
    requests: Sequence[Attributes],
    refused: Bool[np.ndarray, " n"],
    redraw: Redraw | None,
) -> dict[int, Float[np.ndarray, "i j k"]]:
    """Fresh scans that pass, for rejected ones, after at most five tries each."""
    replaced: dict[int, Float[np.ndarray, "i j k"]] = {}
    for attempt in range(1, NUM_TRIES + 1):
        open_positions = [p for p in np.flatnonzero(refused).tolist() if p not in replaced]
        if redraw is None or not open_positions:
            break
        fresh = redraw([requests[p] for p in open_positions], attempt)
        passed = ~screen.rejects(screen.match(fresh, _untold))
        for place in np.flatnonzero(passed):
            replaced[open_positions[place]] = fresh[place]
    return replaced


def _accepted(
    refused: Bool[np.ndarray, " n"], replaced: dict[int, Float[np.ndarray, "i j k"]], seed: int
) -> dict[int, Float[np.ndarray, "i j k"] | None]:
    """What leaves, its count short by a multiple of five: the exact number rejected stays here."""
    accepted: dict[int, Float[np.ndarray, "i j k"] | None] = {
        position: replaced.get(position)
        for position in range(len(refused))
        if not refused[position] or position in replaced
    }
    short = len(refused) - len(accepted)
    extra = min(rounded_up(short) - short, len(accepted))
    withheld = np.random.default_rng([seed, 5]).permutation(list(accepted))[:extra]
    return {p: volume for p, volume in accepted.items() if p not in set(withheld.tolist())}
