"""Texts leave the archive as words that many share, and nothing else of them anywhere."""

import nibabel as nib
import numpy as np
import pytest

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import AttributeSource, IngestConfig


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    rows = ["image,patient_id,report"]
    for number in range(14):
        voxels = np.full((5, 6, 7), number, np.int16)
        voxels[0, 0, 0] = 99
        image = nib.Nifti1Image(voxels, np.eye(4))
        image.header.set_xyzt_units("mm")
        (folder / "in").mkdir(exist_ok=True)
        nib.save(image, folder / f"in/s{number}.nii.gz")
        side = "left" if number % 2 else "right"
        report = f'"Mrs. Xanthippe{"abcdefghijklmn"[number]}: lesion {side}, seen 2024-01-03"'
        rows.append(f"s{number}.nii.gz,p{number},{report if number else ''}")
    (folder / "in/metadata.csv").write_text("\n".join(rows) + "\n")
    config = IngestConfig(
        min_matrix=1, attributes={"report": AttributeSource(kind="text", min_subjects=6)}
    )
    return ingest(folder / "in", folder / "out", DEMO_KEYS, config)


def test_rare_words_names_and_numbers_are_unknown(stage):
    found = sorted(str(scan.attributes["report"]) for scan in Manifest.read(stage.path))
    assert found[0] == "None"
    assert set(found[1:]) == {
        "mrs _ lesion left seen _ _ _", "mrs _ lesion right seen _ _ _"
    }  # fmt: skip


def test_no_name_and_no_date_of_a_report_lies_in_the_stage(stage):
    for path in stage.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes().lower()
            assert b"xanthippe" not in data
            assert b"2024-01-03" not in data
