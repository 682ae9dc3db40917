"""NIfTI and pictures: equal voxels and places, or a reason."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medsynth.core.digest import scan_digest

AFFINE = np.array([[0, -2.0, 0, 10], [1.5, 0, 0.2, -20], [0, 0.1, 3, 5], [0, 0, 0, 1]])


def write(path, array, affine=AFFINE, unit="mm", kind=nib.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = kind(array, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def ramp(dtype=np.int16):
    return np.arange(5 * 6 * 7, dtype=dtype).reshape(5, 6, 7)


def test_voxels_move_with_their_places(read, tmp_path):
    write(tmp_path / "in/a.nii.gz", ramp())
    _, [(scan, volume)] = read(tmp_path / "in")
    where = {int(v): volume.geometry.affine @ [*i, 1] for i, v in np.ndenumerate(volume.array[0])}
    for index, value in np.ndenumerate(ramp()):
        assert np.allclose(where[int(value)], AFFINE @ [*index, 1], atol=1e-4)
    assert volume.geometry.is_ras
    assert scan.digest == scan_digest(volume.array[0], volume.geometry.affine)


def test_every_way_to_hold_an_image_gives_one_digest(read, tmp_path):
    write(tmp_path / "in/a.nii", ramp())
    write(tmp_path / "in/b.nii.gz", ramp())
    write(tmp_path / "in/c.nii", ramp(), kind=nib.Nifti2Image)
    write(tmp_path / "in/d.nii", ramp()[..., None])
    write(tmp_path / "in/e.nii", ramp().astype(">i2"))
    _, scans = read(tmp_path / "in")
    assert len(scans) == 5
    assert len({scan.digest for scan, _ in scans}) == 1


def test_units_become_millimetres(read, tmp_path):
    write(tmp_path / "in/a.nii", ramp(), AFFINE @ np.diag([1e3, 1e3, 1e3, 1]), unit="micron")
    _, [(_, volume)] = read(tmp_path / "in")
    assert sorted(volume.geometry.spacing) == pytest.approx(sorted([1.5, 2.0025, 3.0067]), abs=1e-3)


def test_a_slope_gives_floats(read, tmp_path):
    path = write(tmp_path / "in/a.nii", ramp())
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0.5, 10], "<f4").tobytes()
    path.write_bytes(bytes(data))
    _, [(_, volume)] = read(tmp_path / "in")
    assert sorted(volume.array.ravel()) == pytest.approx(np.arange(210) * 0.5 + 10)


def test_voxels_that_are_no_numbers_are_replaced_and_flagged(read, tmp_path):
    array = ramp(np.float32)
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    write(tmp_path / "in/a.nii", array)
    _, [(scan, volume)] = read(tmp_path / "in")
    assert "nonfinite_replaced" in scan.flags
    assert volume.array.min() == 3


def test_header_text_does_not_come_along(read, tmp_path):
    path = write(tmp_path / "in/a.nii", ramp())
    image = nib.load(path)
    image.header["descrip"], image.header["db_name"] = b"Doe^Jane", b"MRN-12345678"
    nib.save(nib.Nifti1Image(ramp(), AFFINE, image.header), path)
    read(tmp_path / "in")
    assert b"Doe^Jane" in path.read_bytes()
    assert not any(b"Doe" in p.read_bytes() for p in (tmp_path / "out").rglob("*.nii"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: write(p, np.zeros((4, 4, 4, 3), np.int16)), "multi_volume"),
        (lambda p: write(p, np.zeros((4, 4, 4), np.complex64)), "unsupported_pixels"),
        (lambda p: write(p, np.full((4, 4, 4), np.nan, np.float32)), "nonfinite"),
        (lambda p: p.write_bytes(write(p, ramp()).read_bytes()[:-50]), "truncated"),
        (lambda p: p.write_bytes(gzip.compress(write(p, ramp()).read_bytes())[:200]), "truncated"),
        (lambda p: write(p, ramp(), None), "no_geometry"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(read, tmp_path, make, reason):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "a.nii")
    assert read(tmp_path / "in") == ({reason: 1}, [])


def test_pictures_are_planes_in_the_order_of_dicom(read, tmp_path):
    (tmp_path / "in").mkdir()
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    Image.fromarray(np.stack([pixels, pixels, pixels + 1], -1)).save(tmp_path / "in" / "b.png")
    quarantine, [(scan, volume)] = read(tmp_path / "in")
    assert quarantine == {"color": 1}
    assert np.array_equal(volume.array[0, :, :, 0][::-1, ::-1].T, pixels)
    assert "spacing_assumed" in scan.flags
