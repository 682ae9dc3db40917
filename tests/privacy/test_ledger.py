"""The judge's ledger: it only grows, it adds up, it notices every hand laid on it."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from medsynth.core.errors import MedsynthError, StaleInput
from medsynth.core.keys import DEMO_KEYS, Keys
from medsynth.core.manifest import Manifest
from privacy.ledger import (
    Cohort,
    find_accepted,
    read_history,
    record_cohort,
    spend_fold,
)

COHORT = Cohort(
    model="m1",
    folds="f1",
    drawn="d1",
    accepted="a1",
    num_drawn=300,
    num_accepted=295,
    seed=0,
    start=0,
    stop=300,
    verdict="PASS",
    policy="pilot",
)


def of(number, **changes):
    return replace(COHORT, drawn=f"d{number}", accepted=f"a{number}", **changes)


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "home" / "judge.jsonl"


def write(ledger, *cohorts):
    for cohort in cohorts:
        history = record_cohort(ledger, DEMO_KEYS, cohort)
    return history


def test_earlier_releases_of_one_model_are_found_and_others_are_not(ledger):
    write(ledger, of(1), of(2, verdict="FAIL"), of(3, model="m2"), of(4), of(4))
    history = read_history(ledger, DEMO_KEYS)
    assert [c.accepted for c in history.earlier(of(5))] == ["a1", "a4"]
    assert [c.accepted for c in history.earlier(of(4))] == ["a1"]
    assert history.earlier(of(9, model="m3")) == ()


def test_cohorts_without_a_model_add_up_by_the_folds_they_imitate(ledger):
    write(ledger, of(1, model=None), of(2, model=None), of(3, model=None, folds="f2"), of(4))
    history = read_history(ledger, DEMO_KEYS)
    asked = of(5, model=None)
    assert [c.accepted for c in history.earlier(asked)] == ["a1", "a2"]
    assert history.num_drawn(asked.source) == 600


def test_draws_are_counted_once_by_seed_and_index(ledger):
    write(ledger, of(1), of(1, verdict="FAIL"), of(2, start=200, stop=500), of(3, seed=1))
    assert read_history(ledger, DEMO_KEYS).num_drawn("m1") == 500 + 300


def test_the_same_cohort_is_written_once(ledger):
    write(ledger, of(1), of(2), of(1))
    assert len(ledger.read_text().splitlines()) == 2


def test_a_spent_test_fold_is_never_fresh_again(ledger):
    people = [f"sub-{n}" for n in range(5)]
    assert spend_fold(ledger, DEMO_KEYS, "test", people, use="screen-1") == set(people)
    assert spend_fold(ledger, DEMO_KEYS, "test", people, use="screen-1") == set(people)
    assert spend_fold(ledger, DEMO_KEYS, "test", people, use="screen-2") == set()
    grown = [*people, "sub-9"]
    assert spend_fold(ledger, DEMO_KEYS, "test", grown, use="screen-2") == {"sub-9"}
    assert spend_fold(ledger, DEMO_KEYS, "reserve", people, use="screen-2") == set(people)
    assert len(ledger.read_text().splitlines()) == 3


@pytest.mark.parametrize("field", ["verdict", "accepted", "number", "at", "before", "digest"])
def test_a_changed_word_is_noticed(ledger, field):
    write(ledger, of(1), of(2), of(3))
    lines = ledger.read_text().splitlines()
    line = json.loads(lines[1])
    line[field] = "FAIL" if field == "verdict" else line[field] * 2
    ledger.write_text("\n".join([lines[0], json.dumps(line), lines[2]]) + "\n")
    with pytest.raises(MedsynthError, match="line 2 is not"):
        read_history(ledger, DEMO_KEYS)
    with pytest.raises(MedsynthError, match="line 2 is not"):
        record_cohort(ledger, DEMO_KEYS, of(4))


@pytest.mark.parametrize("kept", [(0, 2), (1, 2), (0, 2, 1), (0, 0, 1, 2)])
def test_dropped_moved_and_repeated_lines_are_noticed(ledger, kept):
    write(ledger, of(1), of(2), of(3))
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join(lines[n] for n in kept) + "\n")
    with pytest.raises(MedsynthError, match="must be as it was written"):
        read_history(ledger, DEMO_KEYS)


def test_only_whoever_has_the_keys_can_write_a_line(ledger):
    write(ledger, of(1))
    other = Keys(*(bytes([n]) * 32 for n in range(3)))
    with pytest.raises(MedsynthError, match="other keys"):
        record_cohort(ledger, other, of(2))


def test_a_tail_that_was_cut_off_shows_in_the_head(ledger):
    heads = [record_cohort(ledger, DEMO_KEYS, of(n)).head for n in range(3)]
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:2]))
    assert read_history(ledger, DEMO_KEYS).head == heads[1] != heads[2]
    assert len(set(heads)) == 3


def test_a_line_that_a_killed_run_tore_is_cut_off(ledger):
    write(ledger, of(1), of(2))
    ledger.write_text(ledger.read_text()[:-9])
    assert [c.accepted for c in write(ledger, of(3)).cohorts("m1")] == ["a1", "a3"]


def test_the_ledger_is_private_and_an_absent_one_is_empty(ledger):
    assert read_history(ledger, DEMO_KEYS).lines == ()
    assert not ledger.exists()
    write(ledger, of(1))
    assert ledger.stat().st_mode & 0o077 == 0
    assert ledger.parent.stat().st_mode & 0o077 == 0


def test_writers_at_once_keep_one_chain(ledger):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: write(ledger, of(number)), range(60)))
    assert len(read_history(ledger, DEMO_KEYS).cohorts("m1")) == 60


def test_accepted_cohorts_are_found_by_what_they_hold(store, tmp_path, rng):
    volumes = rng.random((2, 3, 8, 8, 1), np.float32)
    stages = [store(tmp_path / str(n), "accepted", volumes[n]) for n in range(2)]
    roots = [Manifest.read(stage.path).root for stage in stages]
    asked = replace(COHORT, accepted=roots[1])
    found = find_accepted([asked, of(2)], [stage.path for stage in stages])
    assert found == {roots[1]: stages[1].path}


def test_an_audit_again_finds_the_past_it_had(ledger):
    write(ledger, of(1), of(2), of(3))
    history = read_history(ledger, DEMO_KEYS)
    assert [c.accepted for c in history.earlier(of(2))] == ["a1"]
    assert [c.accepted for c in history.earlier(of(2, policy="strict"))] == ["a1", "a3"]


def test_two_cohorts_at_once_must_be_judged_together(ledger):
    record_cohort(ledger, DEMO_KEYS, of(1), beside=())
    with pytest.raises(StaleInput, match="run the audit again"):
        record_cohort(ledger, DEMO_KEYS, of(2), beside=())
    assert len(ledger.read_text().splitlines()) == 1
    record_cohort(ledger, DEMO_KEYS, of(2), beside=(of(1),))
    record_cohort(ledger, DEMO_KEYS, of(1), beside=())
    assert len(ledger.read_text().splitlines()) == 2


def test_draws_at_unknown_indices_count_whole(ledger):
    write(ledger, of(1, start=0, stop=0), of(2, start=0, stop=0), of(3))
    assert read_history(ledger, DEMO_KEYS).num_drawn("m1") == 900


def test_where_the_scans_lie_makes_no_other_cohort(ledger):
    write(ledger, of(1, out="/a"), of(1, out="/b"))
    assert len(ledger.read_text().splitlines()) == 1
