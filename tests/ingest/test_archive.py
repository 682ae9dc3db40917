"""Whole archives: counts, joins, duplicates, identifiers, and stages that are found."""

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medsynth.core.errors import UsageProblem
from medsynth.core.keys import DEMO_KEYS, Keys
from medsynth.core.manifest import Manifest
from medsynth.core.stage import open_stage
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.phantom_archive import BREAKAGES
from medsynth.ingest.quarantine import read_quarantine

BRAIN = IngestConfig(
    attributes={
        "age": AttributeSource(low=0, high=89, unit="years"),
        "sex": AttributeSource(kind="category", values=("F", "M")),
        "nihss": AttributeSource(low=0, high=42),
        "prior": AttributeSource(kind="category", source="priorstroke", values=("0.0", "1.0")),
    }
)


def test_every_broken_phantom_is_counted_by_its_reason(phantom_manifest):
    wanted = {reason: list(BREAKAGES.values()).count(reason) for reason in BREAKAGES.values()}
    assert read_quarantine(phantom_manifest.path) == wanted
    summary = json.loads((phantom_manifest.path / "summary.json").read_text())
    assert summary["left_out"] == {"localizer": 8}
    assert summary["num_volumes"] == summary["num_subjects"] == 40


def test_phantoms_show_their_attributes(phantom_manifest):
    manifest = Manifest.read(phantom_manifest.path)
    assert {"age", "sex", "lesion", "vendor"} <= set(manifest.schema.names)
    ages = [scan.attributes["age"] for scan in manifest]
    assert 0 < ages.count(None) < 15
    assert {scan.attributes["lesion"] for scan in manifest} <= {"yes", "no", None}


def test_no_planted_identifier_of_a_phantom_survives(phantoms, phantom_manifest, find_leaks):
    assert find_leaks(phantoms, phantoms / "phi.json")
    assert find_leaks(phantom_manifest.path, phantoms / "phi.json") == {}


def test_a_hospital_archive_keeps_its_scans_and_loses_its_identifiers(
    hospital, tmp_path, find_leaks
):
    made = ingest(hospital / "dicom", tmp_path, DEMO_KEYS, BRAIN, table=hospital / "clinical.csv")
    manifest = Manifest.read(made.path)
    assert len(manifest) == len(manifest.subjects) == 60
    assert find_leaks(made.path, hospital / "phi.json") == {}
    missing = [scan for scan in manifest if scan.attributes["age"] is None]
    assert 5 < len(missing) < 40
    assert all("no_attributes" not in scan.flags for scan in manifest)


def test_the_inferred_schema_of_a_hospital_archive_leaks_nothing(hospital, tmp_path, find_leaks):
    made = ingest(hospital, tmp_path / "out", DEMO_KEYS)
    names = Manifest.read(made.path).schema.names
    assert {"age", "sex", "nihss", "race"} <= set(names)
    assert read_quarantine(made.path) == {"not_an_image": 1}  # phi.json itself
    assert find_leaks(made.path, hospital / "phi.json") == {}


def test_hippocampi_are_scans_and_their_label_maps_are_not(shared, tmp_path):
    made = ingest(shared / "data/cohort3d/hippocampus", tmp_path, DEMO_KEYS)
    manifest = Manifest.read(made.path)
    assert len(manifest) == len(manifest.subjects) == 140
    assert read_quarantine(made.path) == {}
    assert sum(scan.attributes["hippocampus_mm3"] is None for scan in manifest) == 1
    assert all(scan.geometry.is_ras for scan in manifest)


def test_broken_files_of_other_projects_are_refused_without_a_crash(shared, tmp_path, caplog):
    made = ingest(shared / "data/broken", tmp_path, DEMO_KEYS)
    refused = read_quarantine(made.path)
    assert sum(refused.values()) >= 50
    assert {"truncated", "secondary_capture", "color"} <= set(refused)
    shapes = [sorted(scan.shape) for scan in Manifest.read(made.path)]
    assert [2, 256, 256] in shapes
    assert not caplog.records


@pytest.mark.parametrize("name", ["tcia_pseudo_phi", "presidio_burned_in", "cookies"])
def test_planted_identifiers_of_other_projects_do_not_survive(shared, tmp_path, name):
    made = ingest(shared / "data/phi" / name, tmp_path, DEMO_KEYS)
    written = b"".join(path.read_bytes() for path in made.path.rglob("*") if path.is_file())
    for word in (b"Pseudo", b"COOKIE", b"Cookie", b"1.3.6.1.4.1.14519"):
        assert word not in written


def test_the_same_archive_is_found_and_another_is_not(phantoms, tmp_path):
    source = shutil.copytree(phantoms / "dicom", tmp_path / "in")
    first = ingest(source, tmp_path / "out", DEMO_KEYS)
    assert not first.reused
    assert ingest(source, tmp_path / "out", DEMO_KEYS).reused
    path = next(p for p in sorted(source.rglob("IM0001")))
    os.utime(path, (1, 1))
    assert not ingest(source, tmp_path / "out", DEMO_KEYS).reused


def test_ids_follow_the_key_and_nothing_else(phantoms, phantom_manifest, tmp_path):
    other = Keys(*(bytes([n]) * 32 for n in range(3)))
    again = ingest(phantoms / "dicom", tmp_path / "a", DEMO_KEYS)
    apart = ingest(phantoms / "dicom", tmp_path / "b", other)
    subjects = [Manifest.read(a.path).subjects for a in (phantom_manifest, again, apart)]
    assert subjects[0] == subjects[1]
    assert not set(subjects[0]) & set(subjects[2])
    assert open_stage(apart.path).receipt["key_fingerprint"] == other.fingerprint


def test_an_output_folder_inside_the_source_is_not_read(kit, tmp_path):
    kit.save_all(kit.series(shape=(16, 16)), tmp_path / "in")
    first = ingest(tmp_path / "in", tmp_path / "in" / "work", DEMO_KEYS)
    second = ingest(tmp_path / "in", tmp_path / "in" / "work", DEMO_KEYS)
    assert len(Manifest.read(first.path)) == 1
    assert second.reused


def test_a_column_that_repeats_what_headers_identify_is_not_shown(phantoms, tmp_path):
    people = json.loads((phantoms / "phi.json").read_text())
    lines = ["PatientID,ward,side"]
    for number, person in enumerate(people):
        site = person["studies"][0]["InstitutionName"]
        lines.append(f"{person['patient']['PatientID']},{site},{'lr'[number % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    made = ingest(phantoms / "dicom", tmp_path / "out", DEMO_KEYS, table=tmp_path / "t.csv")
    names = Manifest.read(made.path).schema.names
    assert "side" in names
    assert "ward" not in names


@pytest.mark.parametrize("form", ["dicom", "nifti"])
def test_every_mutated_file_is_a_scan_or_counted(kit, tmp_path, rng, form):
    (tmp_path / "seed").mkdir()
    seed = tmp_path / "seed" / "x.nii"
    if form == "dicom":
        seed = kit.save(kit.plane(kit.origin, shape=(16, 16), PatientAge="050Y"), seed)
    else:
        nib.save(nib.Nifti1Image(np.ones((5, 6, 7), np.int16), np.eye(4)), seed)
    whole, folder = seed.read_bytes(), tmp_path / "in"
    folder.mkdir()
    for number in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 900), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        (folder / f"{number}").write_bytes(
            data[: rng.integers(1, len(data))] if number % 4 == 0 else data
        )
    config = IngestConfig(
        min_matrix=1, localizers=True, max_bytes=1 << 24, max_volume_bytes=1 << 24
    )
    made = ingest(folder, tmp_path / "out", DEMO_KEYS, config)
    planes = sum(max(len(scan.provenance.plane_sources), 1) for scan in Manifest.read(made.path))
    assert planes + sum(read_quarantine(made.path).values()) == 300


def test_links_are_not_followed(kit, read, tmp_path):
    kit.save_all(kit.series(), tmp_path / "elsewhere")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "file").symlink_to(tmp_path / "elsewhere" / "IM000")
    assert read(tmp_path / "in") == ({}, [])


def test_the_same_voxels_again_count_once_per_subject(read, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(tmp_path / "in" / f"{name}.png")
    rows = "image,patient_id\na.png,P\nb.png,P\nc.png,Q\ngone.png,Q\n../in/a.png,Q\n"
    (tmp_path / "in" / "metadata.csv").write_text(rows)
    quarantine, scans = read(tmp_path / "in")
    assert quarantine == {"duplicate": 1, "missing_file": 2}
    assert len({scan.subject_id for scan, _ in scans}) == 2


def test_a_bids_name_tells_the_subject_and_derivatives_are_no_scans(shared, tmp_path):
    made = ingest(shared / "data/bids/ivadomed_spine", tmp_path, DEMO_KEYS)
    manifest = Manifest.read(made.path)
    assert len(manifest.subjects) == 3
    summary = json.loads((made.path / "summary.json").read_text())
    assert summary["left_out"]["derived"] > 0
    assert not {"first_name", "last_name", "date_of_birth", "institution_id"} & set(
        manifest.schema.names
    )


def test_a_source_that_is_no_folder_is_one_clear_sentence(tmp_path):
    with pytest.raises(UsageProblem, match="must be a folder"):
        ingest(tmp_path / "nowhere", tmp_path / "out", DEMO_KEYS)


def test_the_description_selects_series_without_being_stored(phantoms, tmp_path):
    config = IngestConfig(series_description="^AX FLAIR$")
    made = ingest(phantoms / "dicom", tmp_path, DEMO_KEYS, config)
    assert 0 < len(Manifest.read(made.path)) < 30
