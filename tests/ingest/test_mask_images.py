"""Masks that are attributes themselves: label maps and sketches, beside the scans they lie on."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, load_scan
from medsynth.core.masks import load_masks
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import AttributeSource, IngestConfig

OBLIQUE = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 9], [0, 0, 0, 1]])


def labels():
    array = np.zeros((5, 6, 7), np.uint8)
    array[0, 0, :3], array[1, 1, :2], array[4, 5, 6] = 7, 2, 3
    return array


def put(path, array, affine=OBLIQUE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


@pytest.fixture
def folder(tmp_path):
    """Five scans that show their labels: two with a mask, others with none, a moved, a torn one."""
    for number in range(5):
        put(tmp_path / f"in/s{number}.nii.gz", 100 * number + labels().astype(np.int16))
    put(tmp_path / "in/masks/s0.nii.gz", labels())
    put(tmp_path / "in/masks/s1.nii.gz", labels().astype(np.float32))
    put(tmp_path / "in/masks/s3.nii.gz", labels(), OBLIQUE + np.eye(4)[[3, 3, 3, 0]])
    (tmp_path / "in/masks/s4.nii.gz").write_bytes(b"\x1f\x8b torn")
    return tmp_path / "in"


def made(source, tmp_path, **declared):
    attributes = {name: AttributeSource(**fields) for name, fields in declared.items()}
    config = IngestConfig(min_matrix=1, attributes=attributes)
    stage = ingest(source, tmp_path / "out", DEMO_KEYS, config)
    manifest = Manifest.read(stage.path)
    scans = sorted(manifest, key=lambda scan: float(load_scan(stage.path, scan).array.mean()))
    masks = load_masks(stage.path, manifest.schema, (scan.attributes for scan in scans))
    return stage, manifest.schema, scans, masks


def test_a_mask_lies_where_its_scan_shows_it(folder, tmp_path):
    where = "mask:masks/{stem}.nii.gz#2,7"
    stage, schema, scans, masks = made(folder, tmp_path, part={"kind": "mask", "source": where})
    assert schema["part"].values == ("2", "7")
    for number in (0, 1):
        shown = load_scan(stage.path, scans[number]).array[0] - 100 * number
        mask = masks[scans[number].attributes["part"]]
        assert mask.dtype == np.uint8
        assert ((mask == 1) == (shown == 2)).all()
        assert ((mask == 2) == (shown == 7)).all()
    # The same voxels have the same name, and one file.
    assert len(list((stage.path / "masks").iterdir())) == 1


def test_a_mask_that_is_not_there_moved_or_torn_is_missing(folder, tmp_path):
    where = "mask:masks/{stem}.nii.gz"
    _, _, scans, _ = made(folder, tmp_path, part={"kind": "mask", "source": where})
    assert [scan.attributes["part"] is None for scan in scans] == [False, False, True, True, True]
    flagged = ["attribute_refused:part" in scan.flags for scan in scans]
    assert flagged == [False, False, False, True, True]


def test_volume_and_mask_of_one_file_are_two_attributes(folder, tmp_path):
    where = "mask:masks/{stem}.nii.gz"
    _, schema, scans, masks = made(
        folder, tmp_path, part={"kind": "mask", "source": where}, part_mm3={"source": where}
    )
    voxels = (masks[scans[0].attributes["part"]] != 0).sum()
    assert scans[0].attributes["part_mm3"] == pytest.approx(voxels * 9.0)
    assert schema["part"].unit == ""


def test_a_picture_has_a_sketch_in_grays(tmp_path):
    gray = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
    for name in ("scan", "sketch"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.fromarray(gray).save(tmp_path / "in" / name / "a.png")
    where = "mask:sketch/{stem}.png#gray"
    stage, schema, (scan,), masks = made(
        tmp_path / "in", tmp_path, lines={"kind": "mask", "source": where}
    )
    assert schema["lines"].values == ()
    assert (masks[scan.attributes["lines"]] == load_scan(stage.path, scan).array[0]).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "mask"},
        {"kind": "mask", "source": "sex"},
        {"kind": "mask", "source": ("mask:a#1", "mask:b#2")},
        {"kind": "mask", "source": "mask:a", "values": ("1",)},
        {"source": "mask:a#gray"},
    ],
)
def test_a_declaration_that_makes_no_mask_is_refused(fields):
    with pytest.raises(ValidationError, match="mask"):
        AttributeSource(**fields)
