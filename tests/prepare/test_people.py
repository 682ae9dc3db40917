"""Merging: one person, one fold; nobody moves, nothing is merged that nobody reviewed."""

import json
from collections import Counter

import pytest

from medsynth.core.errors import UsageProblem
from medsynth.core.manifest import Manifest
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.folds import assign_folds
from medsynth.prepare.people import (
    People,
    Review,
    merged,
    read_review,
    record_review,
    reviewed_people,
)
from medsynth.prepare.prepare import prepare

CONFIG = PrepareConfig()


def subjects(count):
    return [f"sub-{number:04d}" for number in range(count)]


def pairs_of(*numbers):
    return frozenset((f"sub-{a:04d}", f"sub-{b:04d}") for a, b in numbers)


def write_review(path, *rows, header="pair,one,other,verdict"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_chain_of_pairs_is_one_person():
    same = pairs_of((4, 3), (3, 9), (7, 8), (9, 2))
    assert merged(same) == {f"sub-000{n}": "sub-0002" for n in (2, 3, 4, 9)} | {
        "sub-0007": "sub-0007",
        "sub-0008": "sub-0007",
    }


def test_a_review_is_read_as_a_spreadsheet_leaves_it(tmp_path):
    path = write_review(
        tmp_path / "p.csv", "1;b;a;Same", "2;c;d;", "3;e;f; different ",
        header="\ufeffpair;one;other;verdict",
    )  # fmt: skip
    assert read_review(path) == Review(frozenset({("a", "b")}), frozenset({("e", "f")}))


@pytest.mark.parametrize("row", ["1,a,b,perhaps", "1,a,,same", "1,a,a,same", "1"])
def test_a_row_that_says_nothing_known_is_named_by_its_line(tmp_path, row):
    with pytest.raises(UsageProblem, match="line 3"):
        read_review(write_review(tmp_path / "p.csv", "0,a,c,same", row))


def test_a_review_must_not_contradict_itself(tmp_path):
    rows = ["1,a,b,same", "2,b,c,same", "3,a,c,different"]
    with pytest.raises(UsageProblem, match="contradict"):
        read_review(write_review(tmp_path / "p.csv", *rows))
    with pytest.raises(UsageProblem, match="line 3"):
        read_review(write_review(tmp_path / "q.csv", "1,a,b,same", "2,b,a,different"))


def test_one_person_has_one_fold_and_shares_count_persons(tmp_path, keys):
    ledger, everybody = tmp_path / "l.jsonl", subjects(400)
    twins = pairs_of(*((2 * n, 2 * n + 1) for n in range(100)))
    record_review(ledger, "a", Review(twins), everybody)
    folds = assign_folds(ledger, "a", everybody, keys, CONFIG).folds
    assert all(folds[one] == folds[other] for one, other in twins)
    people = reviewed_people(ledger, "a")
    persons = {people.person(s): fold for s, fold in folds.items()}
    assert Counter(persons.values()) == {
        "train": 165, "control": 60, "calibration": 60, "test": 15,
    }  # fmt: skip


def test_without_a_review_nobody_is_merged(tmp_path, keys):
    plain = assign_folds(tmp_path / "a.jsonl", "a", subjects(100), keys, CONFIG)
    record_review(tmp_path / "b.jsonl", "a", Review(), subjects(100))
    assert assign_folds(tmp_path / "b.jsonl", "a", subjects(100), keys, CONFIG).folds == plain.folds
    assert plain.people == People()
    assert reviewed_people(tmp_path / "b.jsonl", "a").num_reviews == 1


def test_a_new_id_joins_the_fold_of_its_person(tmp_path, keys):
    ledger = tmp_path / "l.jsonl"
    first = assign_folds(ledger, "a", subjects(100), keys, CONFIG).folds
    joining = pairs_of(*((n, 100 + n) for n in range(50)))
    record_review(ledger, "a", Review(joining), subjects(150))
    second = assign_folds(ledger, "a", subjects(150), keys, CONFIG).folds
    assert {s: second[s] for s in first} == first
    assert all(second[one] == second[other] for one, other in joining)


def test_a_person_found_in_two_folds_stays_in_the_first_and_nobody_moves(tmp_path, keys):
    ledger = tmp_path / "l.jsonl"
    first = assign_folds(ledger, "a", subjects(100), keys, CONFIG).folds
    text = ledger.read_text()
    trained = next(s for s in first if first[s] == "train")
    held_out = next(s for s in first if first[s] == "calibration")
    record_review(ledger, "a", Review(frozenset({(trained, held_out)})), subjects(100))
    again = assign_folds(ledger, "a", subjects(100), keys, CONFIG)
    assert again.left_out == {held_out}
    assert again.folds == {s: fold for s, fold in first.items() if s != held_out}
    assert ledger.read_text().startswith(text)


def test_reviews_add_up_and_the_later_word_holds(tmp_path):
    ledger = tmp_path / "l.jsonl"
    record_review(ledger, "a", Review(pairs_of((0, 1), (2, 3))), subjects(9))
    record_review(ledger, "a", Review(pairs_of((4, 5)), pairs_of((2, 3))), subjects(9))
    record_review(ledger, "a", Review(pairs_of((4, 5)), pairs_of((2, 3))), subjects(9))
    assert reviewed_people(ledger, "a") == People(pairs_of((0, 1), (4, 5)), 2)
    assert reviewed_people(ledger, "b") == People()


def test_a_review_of_other_scans_is_refused_and_leaves_no_trace(tmp_path):
    ledger = tmp_path / "l.jsonl"
    with pytest.raises(UsageProblem, match="names 1 subjects"):
        record_review(ledger, "a", Review(pairs_of((0, 99))), subjects(9))
    assert reviewed_people(ledger, "a").num_reviews == 0


def test_prepared_scans_carry_their_person_and_the_report_says_who_looked(
    make_manifest, tmp_path, keys
):
    source, ledger = make_manifest(24), tmp_path / "ledger.jsonl"
    ids = Manifest.read(source.path).subjects
    before = prepare(source, tmp_path / "before", keys, tmp_path / "other.jsonl")
    record_review(ledger, "default", Review(frozenset({(ids[3], ids[7])})), ids)
    after = prepare(source, tmp_path, keys, ledger)
    report = json.loads((after.path / "adequacy.json").read_text())
    assert report["people"] == {"is_reviewed": True, "num_merged": 1}
    manifest = Manifest.read(after.path)
    assert len(manifest) == 24
    assert set(ids) - set(manifest.subjects) == {ids[7]}
    assert before.receipt["parents"]["people"] != after.receipt["parents"]["people"]


def test_prepare_says_that_nobody_looked(make_manifest, tmp_path, keys):
    made = prepare(make_manifest(24), tmp_path, keys, tmp_path / "ledger.jsonl")
    report = json.loads((made.path / "adequacy.json").read_text())
    assert report["people"] == {"is_reviewed": False, "num_merged": 0}


def test_scans_of_a_person_in_an_earlier_fold_are_left_out_and_counted(
    make_manifest, tmp_path, keys
):
    source, ledger = make_manifest(30), tmp_path / "ledger.jsonl"
    ids = Manifest.read(source.path).subjects
    folds = assign_folds(ledger, "default", ids, keys, CONFIG).folds
    pair = tuple(next(s for s in ids if folds[s] == fold) for fold in ("control", "test"))
    record_review(ledger, "default", Review(frozenset({pair})), ids)
    made = prepare(source, tmp_path, keys, ledger)
    report = json.loads((made.path / "adequacy.json").read_text())
    assert report["left_out"] == {"same_person_in_another_fold": 1}
    assert len(Manifest.read(made.path)) == 29
