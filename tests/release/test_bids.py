import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, load_scan
from medsynth.release import validators
from medsynth.release.config import ReleaseConfig
from medsynth.release.release import release
from medsynth.release.validators import installed_validators, validate_bids


def test_nibabel_reads_equal_voxels_affine_and_dtype(released, accepted):
    for ours, theirs in zip(
        Manifest.read(released.path), Manifest.read(accepted.path), strict=True
    ):
        image, original = nib.load(released.path / ours.path), load_scan(accepted.path, theirs)
        np.testing.assert_array_equal(np.asarray(image.dataobj), original.array[0])
        np.testing.assert_array_equal(image.affine, original.geometry.affine)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
        assert image.get_data_dtype() == original.array.dtype
        assert image.header["qform_code"] > 0
        assert image.header["sform_code"] > 0
        assert image.header.get_xyzt_units()[0] == "mm"
        assert not image.header["descrip"].item()
        assert not image.header.extensions


def test_gzip_has_neither_name_nor_time(released):
    for path in released.path.rglob("*.nii.gz"):
        head = path.read_bytes()[:10]
        assert head[3] == 0
        assert head[4:8] == b"\0\0\0\0"
        assert gzip.decompress(path.read_bytes())


@pytest.mark.parametrize(
    ("modality", "shape", "ignored"),
    [
        ("MR", (7, 9, 1), ""),
        ("DX", (9, 8, 1), "sub-*/xray\n"),
        ("CT", (5, 6, 7), "sub-*/ct\n"),
    ],
)
def test_the_bids_validator_finds_no_error(accept, certify, tmp_path, modality, shape, ignored):
    accepted = accept(tmp_path, modality=modality, shape=shape)
    certificate = certify(tmp_path, Manifest.read(accepted.path).root)
    done = release(accepted, certificate, tmp_path, DEMO_KEYS, ReleaseConfig(suffix="FLAIR"))
    bids = done.path / "bids"
    assert validate_bids(bids) == []
    rules = bids / ".bidsignore"
    assert (rules.read_text() if rules.exists() else "") == ignored
    receipt = json.loads((done.path / "receipt.json").read_text())
    assert receipt["config"]["validators"] == {"bids-validator-deno": "3.0.2"}


def test_the_bids_validator_is_heard(released, tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    assert validate_bids(tmp_path)


def test_a_validator_that_is_absent_is_reported_as_not_run(monkeypatch, tmp_path):
    monkeypatch.setattr(validators, "_find", lambda: None)
    assert installed_validators() == {"bids-validator-deno": "not run"}
    assert validate_bids(tmp_path) == []


def test_every_column_is_described(released):
    bids = released.path / "bids"
    columns = (bids / "participants.tsv").read_text().splitlines()[0].split("\t")
    words = json.loads((bids / "participants.json").read_text())
    assert list(words) == columns
    assert all(column["Description"] for column in words.values())


def test_the_data_set_says_that_it_is_synthetic_and_derived(released):
    bids = released.path / "bids"
    description = json.loads((bids / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "medsynth"
    sidecar = json.loads(next(bids.rglob("*_T1w.json")).read_text())
    assert sidecar["SyntheticData"] is True
    assert sidecar["SkullStripped"] is False
