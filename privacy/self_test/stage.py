"""The stage `self_test`: found by digest while detector, folds, limits and generator are the same.

Nothing in it knows the cohort, so the second cohort judged against the same people finds it.
"""

from collections.abc import Callable
from pathlib import Path

from medsynth.core.stage import Artifact, Request, code_digest, produce
from privacy.screen.decide import Screen
from privacy.self_test.result import SelfTest
from privacy.self_test.run import SEED, Bench, run_self_test

STAGE = "self_test"
_SECTIONS = {"alpha", "screen_power", "screen_power_hard", "consistency"}


def self_test_stage(
    out: Path,
    bench: Bench,
    screen: Callable[[], Screen],
    *,
    folds_digest: str,
    model_digest: str | None,
) -> tuple[Artifact, SelfTest]:
    """The stage OUT/self_test and what it holds; `screen` is asked for only where it must run."""
    request = Request(
        stage=STAGE,
        parents={"folds": folds_digest, "model": model_digest or "", **bench.folds.parents},
        config={
            "policy": bench.policy.model_dump(mode="json", include=_SECTIONS),
            "round_trip": bench.access.round_trip is not None,
            "redream": bench.redream is not None,
        },
        code=code_digest("privacy.self_test"),
        seed=SEED,
    )
    stage = produce(out, request, lambda folder: run_self_test(bench, screen()).write(folder))
    return stage, SelfTest.read(stage.path)
