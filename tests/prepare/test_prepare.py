"""The whole room: one grid, folds by subject, a report, and a stage that is found."""

import json

import numpy as np
import pytest

from medsynth.core.errors import TooFewSubjects
from medsynth.core.manifest import Manifest, load_arrays, load_scan
from medsynth.core.stage import open_stage
from medsynth.ingest.archive import ingest
from medsynth.ingest.phantom_archive import write_phantom_archive
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.prepare import prepare


def test_scans_come_out_on_one_grid_in_the_unit_interval(make_manifest, tmp_path, keys):
    made = prepare(make_manifest(24), tmp_path, keys, tmp_path / "ledger.jsonl")
    manifest = Manifest.read(made.path)
    arrays = load_arrays(made.path, manifest)
    assert arrays.shape == (24, 24, 16, 1)
    assert arrays.dtype == np.float32
    assert 0 <= arrays.min() < 0.01 < 0.99 < arrays.max() <= 1
    assert {scan.fold for scan in manifest} == {"train", "control", "calibration", "test"}
    assert all(load_scan(made.path, scan).geometry.is_ras for scan in manifest)


def test_missing_attributes_stay_missing(make_manifest, tmp_path, keys):
    source = make_manifest(24)
    made = prepare(source, tmp_path, keys, tmp_path / "ledger.jsonl")
    before, after = Manifest.read(source.path), Manifest.read(made.path)
    assert [s.attributes for s in before] == [s.attributes for s in after]
    report = json.loads((made.path / "adequacy.json").read_text())
    assert report["attributes"]["age"]["num_missing"] == 8
    assert report["attributes"]["sex"]["levels"] == {"F": 12, "M": 12}
    assert sum(fold["num_subjects"] for fold in report["folds"].values()) == 24


def test_too_few_subjects_are_one_clear_sentence_and_get_no_folds(make_manifest, tmp_path, keys):
    with pytest.raises(TooFewSubjects, match="20 usable subjects are needed, got 7;"):
        prepare(make_manifest(7), tmp_path, keys, tmp_path / "ledger.jsonl")
    assert not (tmp_path / "ledger.jsonl").exists()


def test_scans_of_another_kind_are_left_out_and_counted(make_manifest, tmp_path, keys):
    others = [((12, 20, 1), "DX"), ((12, 20, 5), "MR"), ((1, 12, 20), "MR")]
    made = prepare(make_manifest(22, others=others), tmp_path, keys, tmp_path / "ledger.jsonl")
    assert len(Manifest.read(made.path)) == 22
    report = json.loads((made.path / "adequacy.json").read_text())
    assert report["left_out"] == {"other_kind": 3}


def test_the_stage_is_found_until_its_parents_change(make_manifest, tmp_path, keys):
    ledger = tmp_path / "ledger.jsonl"
    first = prepare(make_manifest(24), tmp_path, keys, ledger)
    assert prepare(make_manifest(24), tmp_path, keys, ledger).reused
    receipt = open_stage(first.path).receipt
    report = json.loads((first.path / "adequacy.json").read_text())
    assert receipt["parents"]["folds"] == report["folds_digest"]
    assert not prepare(make_manifest(25), tmp_path, keys, ledger).reused


def test_a_growing_archive_keeps_everybody_in_place(tmp_path, keys):
    folds = []
    for count in (24, 36):
        source = write_phantom_archive(tmp_path / str(count), num_subjects=count, size=24)
        manifest = ingest(source, tmp_path / "out", keys)
        made = prepare(manifest, tmp_path / "out", keys, tmp_path / "ledger.jsonl")
        folds.append({scan.subject_id: scan.fold for scan in Manifest.read(made.path)})
    assert {subject: folds[1][subject] for subject in folds[0]} == folds[0]
    assert len(folds[1]) == 36


def test_no_planted_identifier_reaches_the_prepared_stage(tmp_path, keys, find_leaks):
    source = write_phantom_archive(tmp_path / "archive", num_subjects=24, size=24)
    manifest = ingest(source, tmp_path / "out", keys)
    prepare(manifest, tmp_path / "out", keys, tmp_path / "out" / "ledger.jsonl")
    assert find_leaks(tmp_path / "out", source / "phi.json") == {}


def test_volumes_keep_their_depth(make_manifest, tmp_path, keys):
    config = PrepareConfig(shape=(8, 16, 8))
    source = make_manifest(20, shape=(12, 20, 9))
    made = prepare(source, tmp_path, keys, tmp_path / "ledger.jsonl", config)
    scan = Manifest.read(made.path).scans[0]
    assert scan.shape == (8, 16, 8)
    assert scan.geometry.spacing == pytest.approx((3.0, 1.25, 27 / 8))
