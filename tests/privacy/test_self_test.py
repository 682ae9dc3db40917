import json
from dataclasses import replace

import numpy as np
import pytest

from privacy.access import Access
from privacy.evidence import decide
from privacy.folds import Fold, RealFolds
from privacy.gates import power
from privacy.gates.every import all_terms
from privacy.gates.logic import num_sound
from privacy.policy import Policy, read_policy
from privacy.screen.decide import Screen
from privacy.self_test import run
from privacy.self_test.result import FILE, SelfTest
from privacy.self_test.run import (
    Bench,
    cast_to_whole_numbers,
    num_null_queries,
    num_queries,
    pick,
    run_self_test,
)
from privacy.self_test.stage import self_test_stage
from privacy.terms import ConsistencyTerms, HardTerms

COPIES = 20
KAPPA = ConsistencyTerms(kappa_at_least=0.9, num_seeds=3)


def untold(count: int) -> None:
    pass


@pytest.fixture(scope="module", autouse=True)
def _few_copies():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "NUM_COPIES", COPIES)
        yield


@pytest.fixture(scope="module")
def small(policy):
    """Three easy kinds and one that needs a generator, four copies of each."""
    kinds = ("exact", "noise_05", "rotation_7", "round_trip")
    asked = policy.screen_power.model_copy(update={"must_catch": kinds, "num_planted": 4})
    hard = HardTerms(low_at_least=0.2, num_planted=3, kinds=("half",))
    return policy.model_copy(update={"screen_power": asked, "screen_power_hard": hard})


@pytest.fixture(scope="module")
def bench(folds, small, screen):
    return Bench(folds, small, Access(), None, lambda folds, seed: screen, untold)


@pytest.fixture(scope="module")
def found(bench, screen):
    return run_self_test(bench, screen)


def test_an_honest_screen_finds_what_is_planted_and_broken_ones_do_not(found):
    assert {found.found[kind] for kind in ("exact", "noise_05", "rotation_7")} == {(4, 4)}
    assert found.blinded == (4, 15)  # an exact copy needs no threshold
    assert found.emptied == (0, 15)
    assert found.misnormalized[0] < 0.5 * found.misnormalized[1]


def test_a_cohort_of_copies_fails_the_partition(found):
    assert found.copies.members[0] >= 0.8 * COPIES
    assert found.copies.controls[0] <= 0.2 * COPIES
    assert found.copies.p_value < 0.01


def test_what_cannot_be_planted_says_why_and_does_not_pass(found, small):
    assert "hand in its checkpoint" in found.found["round_trip"]
    assert found.other_scan is None
    assert found.consistency is None


class WronglyNormalized(Screen):
    """A screen that cuts every query's intensities to whole numbers."""

    def match(self, volumes, tick):
        return super().match(cast_to_whole_numbers(volumes), tick)


def wrongly_normalized(screen: Screen) -> Screen:
    return WronglyNormalized(**vars(screen))


@pytest.mark.parametrize(
    ("sabotage", "lost"),
    [
        (Screen.blinded, {"noise_05", "rotation_7", "half"}),
        (Screen.emptied, {"exact", "noise_05", "rotation_7", "half"}),
        (wrongly_normalized, {"exact", "noise_05"}),
    ],
)
def test_a_judge_that_is_broken_itself_loses_its_power(bench, screen, small, sabotage, lost):
    results = powers(run_self_test(bench, sabotage(screen)), small)
    assert {kind for kind, result in results.items() if result == "INCONCLUSIVE"} >= lost


def test_the_honest_screen_has_that_power(found, small):
    results = powers(found, small)
    assert {results[kind] for kind in ("exact", "noise_05", "rotation_7")} == {"PASS"}


def powers(found: SelfTest, policy: Policy) -> dict[str, str]:
    """Results of the kinds that could be planted, against a limit that 4 of 4 can reach."""
    counts = {kind: c for kind, c in found.found.items() if not isinstance(c, str)}
    must = tuple(kind for kind in policy.screen_power.must_catch if kind in counts)
    terms = policy.screen_power.model_copy(update={"must_catch": must, "low_at_least": 0.4})
    rows = power.rows(counts, policy.model_copy(update={"screen_power": terms}), 0)
    return {row.kind: row.result for row in rows}


def test_every_query_is_ticked(folds, small, screen, soften):
    done: list[int] = []
    policy = small.model_copy(update={"consistency": KAPPA})
    null = num_null_queries(folds, Access(soften))

    def calibrate(folds, seed):
        done.append(null)
        return screen

    bench = Bench(folds, policy, Access(soften), None, calibrate, done.append)
    run_self_test(bench, screen)
    assert sum(done) == num_queries(bench)


def test_seeds_that_agree_have_kappa_1_and_a_blinded_one_breaks_it(bench, small, screen):
    asked = small.model_copy(update={"consistency": KAPPA})
    agree = run_self_test(replace(bench, policy=asked), screen).consistency
    assert (agree.smallest_kappa, agree.num_seeds) == (1.0, 3)
    assert agree.num_scans == 15 + len(screen.null)
    seeds = {1: screen, 2: screen.blinded()}
    differ = replace(bench, policy=asked, calibrate=lambda folds, seed: seeds[seed])
    assert run_self_test(differ, screen).consistency.smallest_kappa < 0.7


def test_second_scans_are_matched_by_a_screen_that_knows_only_the_first(folds, bench, screen):
    train, asked = folds.train, []
    twice = Fold(
        np.concatenate([train.volumes, train.volumes[:3, ::-1]]),
        np.concatenate([train.subjects, train.subjects[:3]]),
    )

    def calibrate(known, seed):
        asked.append((len(known.train.volumes), known.train.num_subjects, seed))
        return screen

    both = RealFolds(twice, folds.control, folds.calibration)
    found = run_self_test(replace(bench, folds=both, calibrate=calibrate), screen)
    assert found.other_scan == (3, 3)
    assert asked == [(len(train.volumes), train.num_subjects, 0)]


def test_one_scan_each_of_different_subjects_is_picked(phantoms):
    fold = Fold(phantoms(3, seed=1)[[0, 0, 1, 2, 2]], np.array([5, 5, 6, 7, 7]))
    picked = [pick(fold, 2, seed) for seed in range(30)]
    assert all(len({*fold.subjects[p].tolist()}) == 2 for p in picked)
    assert {n for p in picked for n in p.tolist()} == set(range(5))


@pytest.fixture
def make(bench, tmp_path):
    """Runs the stage; counts how often the screen was asked for."""
    calls: list[int] = []

    def call(screen, folds_digest="f", model_digest="m", **changes):
        def judge():
            calls.append(1)
            return screen

        given = {"folds_digest": folds_digest, "model_digest": model_digest}
        stage, found = self_test_stage(tmp_path, replace(bench, **changes), judge, **given)
        return stage, found, len(calls)

    return call


def test_the_stage_is_found_for_another_cohort_and_run_anew_for_other_people(
    make, screen, small, found
):
    stage, first, _ = make(screen)
    assert stage.path.name == stage.stage == "self_test"
    assert first == found
    other_limits = small.model_copy(
        update={"partition": small.partition.model_copy(update={"p_above": 0.02})}
    )
    again, second, runs = make(screen, policy=other_limits)
    assert (again.reused, runs, second) == (True, 1, first)
    fewer = small.screen_power.model_copy(update={"num_planted": 2})
    changes = [
        {"folds_digest": "g"},
        {"model_digest": "n"},
        {"policy": small.model_copy(update={"screen_power": fewer})},
        {"policy": small.model_copy(update={"alpha": 0.1})},
        {"redream": lambda volumes, t, seed: volumes},
    ]
    for number, change in enumerate(changes):
        stage, _, runs = make(screen.emptied(), **change)
        assert (stage.reused, runs) == (False, number + 2)


def test_only_counts_leave(make, screen, small):
    stage, _, _ = make(screen, policy=small.model_copy(update={"consistency": KAPPA}))
    assert [path.name for path in stage.path.iterdir() if path.name != "receipt.json"] == [FILE]
    for name, value in leaves(json.loads((stage.path / FILE).read_text())):
        assert isinstance(value, int | str | None) or name in ("p_value", "smallest_kappa")


def leaves(value, name=""):
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, key)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, name)]
    return [(name, value)]


def test_what_was_written_is_read_back(found, tmp_path):
    whole = replace(found, other_scan=(2, 3))
    whole.write(tmp_path)
    assert SelfTest.read(tmp_path) == whole


@pytest.mark.parametrize("name", ["demo", "pilot", "research", "research_model", "strict"])
def test_gates_tell_safe_from_harmful_and_inverted_ones_are_noticed(name):
    terms = all_terms(read_policy(name))

    def inverted(*args, **asked):
        return decide(
            *args, **asked | {"side": {"above": "below", "below": "above"}[asked["side"]]}
        )

    assert num_sound(terms) == (len(terms), len(terms))
    assert num_sound(terms, inverted)[0] == 0
    assert num_sound(terms, lambda *args, **asked: "PASS")[0] == 0
    assert num_sound(terms, lambda *args, **asked: "INCONCLUSIVE")[0] == 0
