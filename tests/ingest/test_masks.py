"""Attributes measured in masks: the volume that the table states, from the labels themselves."""

import shutil

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.facts.table import read_table
from medsynth.ingest.files.masks import MaskRule, mask_volume
from medsynth.ingest.source import InputFile


def config_of(**sources):
    attributes = {name: AttributeSource(source=source) for name, source in sources.items()}
    return IngestConfig(min_matrix=1, attributes=attributes)


def put(path, array, size=2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.diag([size, size, size, 1]))
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def measured(path, *labels):
    return mask_volume(
        InputFile(path, path.name, path.stat().st_size, 0), frozenset(labels), IngestConfig()
    )


def labels(dtype=np.uint8):
    array = np.zeros((5, 6, 7), dtype)
    array[0, 0, :3], array[1, 1, :2] = 1, 2
    return array


@pytest.fixture
def folder(tmp_path):
    """Three scans, masks beside two of them."""
    for number in range(3):
        put(tmp_path / f"in/s{number}.nii.gz", np.full((5, 6, 7), number, np.int16) + labels())
    put(tmp_path / "in/masks/s0_seg.nii.gz", labels())
    put(tmp_path / "in/masks/s1_seg.nii.gz", labels() * 2)
    return tmp_path / "in"


def test_volumes_are_of_the_labels_asked_for(tmp_path):
    put(tmp_path / "m.nii", labels())
    put(tmp_path / "f.nii", labels(np.float32))
    assert [measured(tmp_path / "m.nii"), measured(tmp_path / "m.nii", 2)] == [40, 16]
    assert [measured(tmp_path / "f.nii", 1, 2), measured(tmp_path / "f.nii", 7)] == [40, 0]


def test_probabilities_are_no_mask(tmp_path):
    put(tmp_path / "m.nii", labels(np.float32) / 3)
    with pytest.raises(UnreadableScan, match="no_mask"):
        measured(tmp_path / "m.nii")


def test_a_pattern_finds_the_mask_of_each_scan_and_masks_are_no_scans(read, folder):
    refused, scans = read(folder, config_of(lesion="mask:masks/{stem}_seg.nii.gz"))
    found = [scan.attributes["lesion"] for scan, _ in scans]
    assert (refused, found) == ({}, [40, 40, None])


def test_a_column_names_the_mask_and_its_labels(read, folder):
    (folder / "metadata.csv").write_text(
        "image,seg\ns0.nii.gz,masks/s0_seg.nii.gz\ns1.nii.gz,masks/s1_seg.nii.gz\ns2.nii.gz,\n"
    )
    _, scans = read(folder, config_of(first="mask:seg#1", all="mask:seg"))
    assert [dict(scan.attributes) for scan, _ in scans] == [
        {"first": 24, "all": 40}, {"first": 0, "all": 40}, {"first": None, "all": None}
    ]  # fmt: skip


def test_a_mask_that_cannot_be_read_or_lies_elsewhere_is_flagged(read, folder):
    shutil.move(folder / "masks/s0_seg.nii.gz", folder.parent / "outside.nii.gz")
    (folder / "masks/s1_seg.nii.gz").write_bytes(b"")
    (folder / "link.nii.gz").symlink_to(folder.parent / "outside.nii.gz")
    (folder / "metadata.csv").write_text(
        "image,seg\ns0.nii.gz,../outside.nii.gz\ns1.nii.gz,masks/s1_seg.nii.gz\n"
        "s2.nii.gz,link.nii.gz\n"
    )
    _, scans = read(folder, config_of(lesion="mask:seg"))
    assert len(scans) == 3
    for scan, _ in scans:
        assert scan.attributes["lesion"] is None
        assert "attribute_refused:lesion" in scan.flags


def test_a_rule_is_a_place_and_labels():
    rule = MaskRule.parse("mask:derivatives/{folder}/{stem}_seg.nii.gz#1,3")
    assert (rule.where, rule.labels) == ("derivatives/{folder}/{stem}_seg.nii.gz", {1, 3})
    assert rule.matches("derivatives/sub-1/anat/a_seg.nii.gz")
    assert not rule.matches("sub-1/anat/a.nii.gz")


def test_masks_in_bids_derivatives_are_found(read, shared):
    where = "mask:derivatives/labels/{folder}/{stem}_seg-manual.nii.gz"
    config = IngestConfig(
        min_matrix=1, files="_T2w", attributes={"cord": AttributeSource(source=where)}
    )
    _, scans = read(shared / "data/bids/ivadomed_spine", config)
    found = [scan.attributes["cord"] for scan, _ in scans]
    [seg] = (shared / "data/bids/ivadomed_spine/derivatives").rglob("*seg-manual.nii.gz")
    image = nib.load(seg)
    wanted = (image.get_fdata() != 0).sum() * abs(np.linalg.det(image.affine[:3, :3]))
    assert found.count(None) == len(found) - 1
    assert max(value for value in found if value is not None) == pytest.approx(wanted, rel=1e-6)


def test_measured_volumes_are_those_of_the_hippocampus_table(shared):
    folder = shared / "data/cohort3d/hippocampus"
    rows = read_table(folder / "metadata.csv", join=(), subject="").rows
    checked = 0
    for row in (row for row in rows if row["label"]):
        path = folder / row["label"]
        assert measured(path) == pytest.approx(float(row["hippocampus_mm3"]))
        assert measured(path, 1) == pytest.approx(float(row["anterior_mm3"]))
        checked += 1
    assert checked == len(rows) - 1 == 139


def test_measured_volumes_are_those_of_the_lesion_table(shared):
    folder = shared / "data/cohort3d/soop_lesion_masks"
    for row in read_table(folder / "metadata.csv", join=(), subject="").rows[::6]:
        assert measured(folder / row["image"]) == pytest.approx(float(row["lesion_mm3"]))


@pytest.mark.parametrize("source", ["mask:", "mask:seg#", "mask:seg#a", "mask:seg#1,"])
def test_a_misspelled_rule_is_refused_before_anything_is_read(source):
    with pytest.raises(ValidationError, match="mask"):
        AttributeSource(source=source)
