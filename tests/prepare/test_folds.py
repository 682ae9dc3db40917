"""The ledger: shares are met, nobody moves, torn lines are mended, damage is refused."""

import json
from collections import Counter

import pytest

from medsynth.core.errors import MedsynthError
from medsynth.core.keys import Keys
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.folds import assign_folds

CONFIG = PrepareConfig()


def people(count):
    return [f"sub-{number:04d}" for number in range(count)]


def test_shares_are_met(tmp_path, keys):
    folds = assign_folds(tmp_path / "l.jsonl", "a", people(420), keys, CONFIG).folds
    assert Counter(folds.values()) == {
        "train": 231,
        "control": 84,
        "calibration": 84,
        "test": 21,
    }


def test_nobody_moves_when_subjects_are_added(tmp_path, keys):
    ledger = tmp_path / "l.jsonl"
    first = assign_folds(ledger, "a", people(100), keys, CONFIG)
    text = ledger.read_text()
    second = assign_folds(ledger, "a", people(150), keys, CONFIG)
    assert {subject: second.folds[subject] for subject in first.folds} == first.folds
    assert ledger.read_text().startswith(text)
    assert Counter(second.folds.values())["control"] == 30
    assert assign_folds(ledger, "a", people(100), keys, CONFIG) == first


def test_new_subjects_go_where_most_is_missing(tmp_path, keys):
    ledger = tmp_path / "l.jsonl"
    only_train = PrepareConfig(folds={"train": 1.0})
    assign_folds(ledger, "a", people(50), keys, only_train)
    folds = assign_folds(ledger, "a", people(100), keys, CONFIG).folds
    assert Counter(folds.values())["train"] <= 56
    assert Counter(folds.values())["control"] >= 20 - 1


def test_the_order_follows_the_key(tmp_path, keys):
    other = Keys(*(bytes([n]) * 32 for n in range(3)))
    folds = assign_folds(tmp_path / "a.jsonl", "a", people(100), keys, CONFIG)
    apart = assign_folds(tmp_path / "b.jsonl", "a", people(100), other, CONFIG)
    shuffled = assign_folds(tmp_path / "c.jsonl", "a", people(100)[::-1], keys, CONFIG)
    assert folds == shuffled != apart


def test_counts_fill_and_the_rest_is_reserve(tmp_path, keys):
    config = PrepareConfig(folds={"train": 10, "control": 5})
    folds = assign_folds(tmp_path / "l.jsonl", "a", people(22), keys, config).folds
    assert Counter(folds.values()) == {"train": 10, "control": 5, "reserve": 7}


def test_data_sets_share_a_ledger_without_mixing(tmp_path, keys):
    ledger = tmp_path / "l.jsonl"
    first = assign_folds(ledger, "a", people(40), keys, CONFIG)
    other = assign_folds(ledger, "b", people(40), keys, CONFIG)
    assert first != other
    assert assign_folds(ledger, "a", people(40), keys, CONFIG) == first
    assert first.digest("a") != first.digest("b")


def test_a_line_that_a_killed_run_tore_is_mended(tmp_path, keys):
    ledger = tmp_path / "l.jsonl"
    first = assign_folds(ledger, "a", people(40), keys, CONFIG)
    ledger.write_text(ledger.read_text()[:-9])
    assert assign_folds(ledger, "a", people(40), keys, CONFIG) == first
    assert len([json.loads(line) for line in ledger.read_text().splitlines()]) == 40


def test_a_damaged_ledger_is_refused(tmp_path, keys):
    ledger = tmp_path / "l.jsonl"
    assign_folds(ledger, "a", people(4), keys, CONFIG)
    ledger.write_text("nonsense\n" + ledger.read_text())
    with pytest.raises(MedsynthError, match="ledger is damaged"):
        assign_folds(ledger, "a", people(4), keys, CONFIG)


def test_the_ledger_is_private(tmp_path, keys):
    assign_folds(tmp_path / "home" / "l.jsonl", "a", people(4), keys, CONFIG)
    assert (tmp_path / "home" / "l.jsonl").stat().st_mode & 0o077 == 0
