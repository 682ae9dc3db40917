"""One cohort judged in memory: screened, attacked, and set beside what the self-test found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from medsynth.core.protocols import Redraw
from medsynth.core.schema import Attributes, AttributeSchema
from privacy.access import Access
from privacy.campaign import Campaign
from privacy.evidence import Interval, rate, rounded_up
from privacy.folds import Fold, RealFolds
from privacy.gates import consistency, power, rejection, releases, self_test
from privacy.gates import partition as partition_gate
from privacy.gates.every import all_terms
from privacy.gates.logic import num_sound
from privacy.past import Beside
from privacy.policy import Policy
from privacy.screen.decide import Screen, Tick, conformal_p
from privacy.self_test.result import SelfTest
from privacy.self_test.run import members_and_controls
from privacy.verdict import Verdict, conclude

NUM_TRIES = 5  # redraws of a rejected scan

Volumes = Float[np.ndarray, "n i j k"]


@dataclass(frozen=True, eq=False)
class Judgment:
    """The verdict, what may be accepted, and what goes to the vault.

    `accepted` maps a position of the cohort to its redrawn volume, or to None where the
    scan as sampled passed; `num_beside` counts scans that left before and were judged beside it.
    """

    verdict: Verdict
    accepted: dict[int, Float[np.ndarray, "i j k"] | None]
    rejected: Volumes
    rejected_positions: Int[np.ndarray, " rejected"]
    rejected_p: Float[np.ndarray, " rejected"]
    num_rejected: int
    num_beside: int
    num_null: int
    num_missing: int
    rank: int
    test: tuple[int, int, Interval] | None
    num_fresh: Mapping[str, int] = field(default_factory=dict)
    """Subjects of a fold that no other screen had used."""


def judge_cohort(
    volumes: Volumes,
    requests: Sequence[Attributes],
    folds: RealFolds,
    policy: Policy,
    *,
    screen: Screen,
    tested: SelfTest,
    access: Access,
    beside: Beside,
    schema: AttributeSchema,
    seed: int,
    tick: Tick,
) -> Judgment:
    """Screen, attack and conclude under a policy; `tested` is what the judge's self-test found.

    The attacks see the cohort beside what left before; what may be accepted is the cohort's alone.
    """
    together, num_beside = np.concatenate([volumes, beside.volumes]), len(beside.volumes)
    scores = screen.match(together, tick)
    refused = screen.rejects(scores)[: len(volumes)]
    asked = [*requests, *beside.requests]
    campaign = Campaign(together, asked, schema, folds, policy, access, screen, seed)
    rows = [
        *power.rows(tested.found, policy, screen.num_missing),
        *consistency.rows(tested.consistency, policy),
        rejection.row(int(refused.sum()), len(volumes), policy),
        *partition_gate.rows(members_and_controls(screen, scores, folds, seed), policy),
        *campaign.rows(),
        releases.row(beside.num_cohorts, beside.num_missing, num_beside, policy),
        *self_test.rows(tested, num_sound(all_terms(policy)), policy),
    ]
    test = None if folds.test is None else _fresh_rate(screen, folds.test, tick)
    replaced = _replace(screen, requests, refused, access.redraw)
    return Judgment(
        verdict=conclude(rows),
        accepted=_accepted(refused, replaced, seed),
        rejected=volumes[refused],
        rejected_positions=np.flatnonzero(refused),
        rejected_p=conformal_p(screen.null, scores.largest[: len(volumes)][refused]),
        num_rejected=rounded_up(int(refused.sum())),
        num_beside=num_beside,
        num_null=len(screen.null),
        num_missing=screen.num_missing,
        rank=screen.rank,
        test=test,
    )


def _untold(count: int) -> None:
    """A tick for queries that the total does not count."""


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
