"""BIDS: whose each image is and what its sidecars say, as bidsschematools reads the names."""

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bidsschematools.schema import load_schema

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.files.bids import read_layout
from medsynth.ingest.files.bids_names import ignored_by, known_values, parse_name
from medsynth.ingest.files.gradients import read_gradients
from medsynth.ingest.files.nifti_config import NiftiConfig
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.source import walk

SETS = ("examples_ds102", "ivadomed_spine", "ixi_t1_2mm")


@pytest.fixture(scope="module")
def schema():
    return load_schema()


def put(root, path, content=None):
    """A file: JSON of a dict, text of a string, else a small volume."""
    where = root / path
    where.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        where.write_text(json.dumps(content))
    elif isinstance(content, str):
        where.write_text(content)
    else:
        array = (
            np.arange(4**3, dtype=np.int16).reshape(4, 4, 4) + len(path)
            if content is None
            else content
        )
        image = nib.Nifti1Image(array, np.diag([-2.0, 2, 2, 1]))
        image.header.set_xyzt_units("mm")
        nib.save(image, where)
    return where


def layout_of(root):
    files = walk(root)
    layout = read_layout(root, files)
    assert layout is not None
    return layout, {file.name: file for file in files}


@pytest.fixture
def dataset(tmp_path):
    """Sidecars at every level, two sessions, a participant known at each of them."""
    root = tmp_path / "bids"
    put(root, "dataset_description.json", {"Name": "x", "BIDSVersion": "1.11.2"})
    put(root, "participants.tsv", "participant_id\tage\tsex\nsub-01\t40\tF\nsub-02\t95\tn/a\n")
    put(root, "participants.json", {"age": {"Units": "years"}, "weight": {"Units": "lb"}})
    put(root, "T1w.json", {"Manufacturer": "SIEMENS", "EchoTime": 0.001, "RepetitionTime": 1.0})
    put(root, "acq-fast_T1w.json", {"RepetitionTime": 2.0})
    put(root, "sub-01/sub-01_T1w.json", {"EchoTime": 0.002})
    put(root, "sub-01/ses-1/sub-01_ses-1_T1w.json", {"EchoTime": 0.003, "FlipAngle": 9})
    put(root, "sub-01/ses-1/anat/sub-01_ses-1_acq-fast_T1w.json", {"EchoTime": 0.00456})
    put(root, "sub-01/ses-1/anat/sub-01_ses-1_acq-fast_T1w.nii.gz")
    put(root, "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz")
    put(root, "sub-02/anat/sub-02_T1w.nii.gz")
    put(root, "sub-01/sub-01_sessions.tsv", "session_id\tage\nses-1\t40\nses-2\t42\n")
    put(
        root,
        "phenotype/moca.tsv",
        "participant_id\tsession_id\tmoca\n01\tses-1\t28\n01\tses-2\t25\n",
    )
    return root


FAST = "sub-01/ses-1/anat/sub-01_ses-1_acq-fast_T1w.nii.gz"
SECOND = "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"
OTHER = "sub-02/anat/sub-02_T1w.nii.gz"


def test_nearer_sidecars_win_and_seconds_become_milliseconds(dataset):
    layout, files = layout_of(dataset)
    [fast], [second], [other] = (layout.facts(files[name]) for name in (FAST, SECOND, OTHER))
    wanted = {"EchoTime": "4.56", "RepetitionTime": "2000", "FlipAngle": "9"}
    assert fast == {"Manufacturer": "SIEMENS", "BidsSuffix": "T1w", **wanted}
    assert (second["EchoTime"], second["RepetitionTime"]) == ("2", "1000")
    assert other["EchoTime"] == "1"
    assert "FlipAngle" not in second


def test_sidecars_of_equal_rank_that_contradict_each_other_are_ambiguous(dataset):
    put(dataset, "sub-01/ses-1/ses-1_T1w.json", {"FlipAngle": 7})
    put(dataset, "sub-01/ses-1/sub-01_T1w.json", {"FlipAngle": 8})
    put(dataset, "sub-01/ses-1/sub-01_ses-1_T1w.json", {})
    layout, files = layout_of(dataset)
    assert {facts["FlipAngle"] for facts in layout.facts(files[FAST])} == {"7", "8"}


def test_listed_sidecar_keys_alone_are_known():
    sidecar = {
        "InstitutionName": "X",
        "PatientName": "Y",
        "SeriesDescription": "Z",
        "EchoTime": [1],
    }
    assert known_values(sidecar | {"ScanningSequence": ["GR", "IR"], "FlipAngle": True}) == {
        "ScanningSequence": "GR\\IR"
    }


def test_subjects_sessions_and_kinds_are_in_the_names(dataset):
    layout, files = layout_of(dataset)
    assert (layout.subject(files[FAST]), layout.session(files[FAST])) == ("sub-01", "ses-1")
    assert (layout.session(files[OTHER]), layout.modality(files[OTHER])) == ("", "MR")


def test_a_file_in_another_subjects_folder_is_refused(dataset):
    put(dataset, "sub-02/anat/sub-01_T2w.nii.gz")
    layout, files = layout_of(dataset)
    with pytest.raises(UnreadableScan, match="ambiguous_subject"):
        layout.subject(files["sub-02/anat/sub-01_T2w.nii.gz"])


def test_a_sessions_row_stands_for_the_subjects_and_phenotypes_join(dataset):
    layout, files = layout_of(dataset)
    participant, measured = layout.rows(files[SECOND])
    assert (participant["age"], participant["sex"], measured["moca"]) == ("42", "F", "25")
    assert [row["age"] for row in layout.rows(files[OTHER])] == ["95"]


def test_what_is_no_image_of_the_dataset_is_left_out_by_name(dataset):
    put(dataset, ".bidsignore", "extra/\n*_ct.nii.gz\n")
    for path in ("extra/sub-01/anat/sub-01_T1w", "sub-01/anat/sub-01_ct", "sub-01/anat/scan"):
        put(dataset, f"{path}.nii.gz")
    put(dataset, "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz")
    put(dataset, "sub-01/anat/sub-01_mask.nii.gz")
    layout, files = layout_of(dataset)
    reasons = {layout.unwanted(file) for file in files.values()}
    assert reasons == {"", "bidsignore", "not_bids", "derived", "mask", "sidecar"}
    assert [name for name, file in files.items() if not layout.unwanted(file)] == [
        FAST, SECOND, OTHER
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "path", "is_ignored"),
    [
        (["*.tmp"], "a/b/c.tmp", True),
        (["/a/*.tmp"], "a/b/c.tmp", False),
        (["a/**/c.tmp"], "a/b/d/c.tmp", True),
        (["b/"], "a/b/c", True),
        (["b/"], "a/b", False),
        (["*.tmp", "!keep.tmp"], "keep.tmp", False),
        (["# a"], "a", False),
    ],
)
def test_bidsignore_reads_like_gitignore(lines, path, is_ignored):
    assert ignored_by(lines)(path) is is_ignored


def test_a_plain_folder_is_no_dataset(tmp_path):
    put(tmp_path, "a/b.nii.gz")
    assert read_layout(tmp_path, walk(tmp_path)) is None


def test_an_unreadable_sidecar_is_flagged(dataset):
    put(dataset, "sub-02/sub-02_T1w.json", "{not json")
    layout, files = layout_of(dataset)
    assert layout.flags(files[OTHER]) == ("sidecar_unreadable",)
    assert layout.flags(files[FAST]) == ()


def test_a_dataset_becomes_scans_with_what_its_tables_and_sidecars_say(dataset, tmp_path):
    attributes = {
        "age": AttributeSource(low=0, high=89),
        "sex": AttributeSource(kind="category", values=("F", "M")),
        "moca": AttributeSource(low=0, high=30),
        "vendor": AttributeSource(kind="category"),
        "te": AttributeSource(source="EchoTime", unit="s"),
    }
    made = ingest(dataset, tmp_path / "out", DEMO_KEYS, IngestConfig(attributes=attributes))
    scans = {s.provenance.acquisition["EchoTime"]: s for s in Manifest.read(made.path)}
    fast, second, other = scans[4.56], scans[2.0], scans[1.0]
    assert fast.attributes == {
        "age": 40,
        "sex": "F",
        "moca": 28,
        "vendor": "Siemens",
        "te": 0.00456,
    }
    assert (second.attributes["age"], second.attributes["moca"]) == (42, 25)
    assert (other.attributes["age"], other.attributes["sex"]) == (89, None)
    assert "top_coded" in other.flags
    assert fast.subject_id == second.subject_id != other.subject_id
    assert {scan.modality for scan in scans.values()} == {"MR"}
    summary = json.loads((made.path / "summary.json").read_text())
    assert (summary["quarantined"], summary["left_out"]) == ({}, {"derived": 1, "sidecar": 8})


def test_directions_beside_a_file_are_turned_into_the_patients_frame(dataset, tmp_path):
    weighted = np.stack([np.full((4, 4, 4), n, np.int16) for n in (9, 5)], -1)
    put(dataset, "sub-02/dwi/sub-02_dwi.nii.gz", weighted)
    put(dataset, "dwi.bval", "0 1000\n")
    put(dataset, "dwi.bvec", "0 0.6\n0 0.8\n0 0\n")
    config = IngestConfig(files="_dwi", nifti=NiftiConfig(volumes="split"))
    made = ingest(dataset, tmp_path / "out", DEMO_KEYS, config)
    found = sorted(
        (s.provenance.acquisition for s in Manifest.read(made.path)),
        key=lambda acquisition: acquisition["DiffusionBValue"],
    )
    assert [a["DiffusionBValue"] for a in found] == [0, 1000]
    # The file runs from right to left, so its first axis is DICOM's L as it stands.
    assert found[1]["DiffusionGradientOrientation"] == pytest.approx([0.6, -0.8, 0])
    assert "DiffusionGradientOrientation" not in found[0]


def test_directions_equal_those_that_the_scanners_dicom_states(shared, tmp_path):
    # (1, 0, 0) is what ingest reads from the same scan's DICOM files.
    [bval] = (shared / "data/dicom/d2n_ge_dti/ref").rglob("*.bval")
    [nifti] = bval.parent.glob("*.nii*")
    image = nib.load(nifti)
    found = read_gradients(bval, bval.with_suffix(".bvec"), image.affine, image.shape[3])
    weighted, plain = found[1], found[0]
    assert weighted["DiffusionGradientOrientation"] == pytest.approx([1, 0, 0], abs=1e-6)
    assert plain == {"DiffusionBValue": 0}


def rules(schema):
    """(file stems by suffix and datatype, entity order) that the schema allows in raw data."""
    return {
        (suffix, datatype)
        for group in schema.rules.files.raw.values()
        for rule in group.values()
        for suffix in rule.get("suffixes", ())
        for datatype in rule.get("datatypes", ())
    }


@pytest.mark.parametrize("name", SETS)
def test_the_index_agrees_with_the_schema_on_real_datasets(shared, schema, name):
    root = shared / "data/bids" / name
    layout, files = layout_of(root)
    order = {
        schema.objects.entities[key].name: place for place, key in enumerate(schema.rules.entities)
    }
    allowed = rules(schema)
    ours = {path for path, file in files.items() if not layout.unwanted(file)}
    for path in ours:
        found = parse_name(path)
        assert (found.suffix, found.folders[-1]) in allowed or found.suffix == "T2star"
        places = [order[entity] for entity in found.entities]
        assert places == sorted(places)
    raw = {p for p in files if re.match(r"sub-[^/]+/.*\.nii(\.gz)?$", p)}
    assert ours == raw


def test_every_kind_of_image_name_in_the_schema_is_understood(schema):
    for suffix, datatype in sorted(rules(schema)):
        parsed = parse_name(f"sub-01/ses-1/{datatype}/sub-01_ses-1_run-1_{suffix}.nii.gz")
        assert parsed is not None
        assert (parsed.suffix, parsed.folders[-1], parsed.entities["run"]) == (
            suffix,
            datatype,
            "1",
        )


def test_empty_images_are_counted_as_empty(shared, tmp_path):
    root = shared / "data/bids/examples_ds102"
    made = ingest(root, tmp_path, DEMO_KEYS)
    summary = json.loads((made.path / "summary.json").read_text())
    images = len(list(root.rglob("*.nii.gz")))
    assert (summary["quarantined"], summary["num_volumes"]) == ({"empty": images}, 0)


def test_a_real_dataset_keeps_physics_and_loses_names(shared, tmp_path):
    attributes = {
        "age": AttributeSource(low=0, high=89),
        "sex": AttributeSource(kind="category", values=("F", "M")),
        "body_part": AttributeSource(kind="category"),
        "model": AttributeSource(kind="category"),
        "field_strength": AttributeSource(unit="T"),
        "sequence": AttributeSource(kind="category"),
    }
    config = IngestConfig(min_matrix=1, files="_T1w", attributes=attributes)
    made = ingest(shared / "data/bids/ivadomed_spine", tmp_path, DEMO_KEYS, config)
    scans = list(Manifest.read(made.path))
    assert len(scans) == 3
    assert {s.attributes["age"] for s in scans} == {s.attributes["sex"] for s in scans} == {None}
    assert {s.attributes["body_part"] for s in scans} == {"SPINE"}
    assert {s.attributes["field_strength"] for s in scans} == {3.0}
    assert {s.attributes["sequence"] for s in scans} == {"GR+IR"}
    written = b"".join(p.read_bytes() for p in Path(tmp_path).rglob("*") if p.is_file())
    assert not any(word in written for word in (b"IUGM", b"unf0", b"MRC35049", b"167006"))


def test_whole_heads_have_the_ages_of_their_participants(shared, tmp_path):
    config = IngestConfig(pixels=PixelChecks(text="off", faces="keep"))
    made = ingest(shared / "data/bids/ixi_t1_2mm", tmp_path, DEMO_KEYS, config)
    ages = sorted(scan.attributes["age"] for scan in Manifest.read(made.path))
    assert ages == [24.28, 24.76, 34.24]
