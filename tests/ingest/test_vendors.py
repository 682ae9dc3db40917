"""Real series of seven vendors against the reference volumes that came with them."""

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from matrix.real import SETS, differences

EXCEPTIONS = {
    "bits12_unsigned": "the second file is a series without a reference here",
    "siemens_orient_axasc35": "a NIfTI file of two volumes lies among the mosaics",
    "d2n_generic_rgb": "color secondary captures are refused, whatever the reference made of them",
    "philips_classic_epi": "the reference holds Philips' private values; ours the standard's",
    "philips_enhanced_fieldmap": "as philips_classic_epi",
}
"""Why more, fewer or other volumes come out than there are references."""

WITH_TEXT = ("siemens_mosaic_AP", "ge_mr_epi_stc")  # a README-Series.txt lies among the images

CODECS = {
    "RLE": 0,
    "J2KR": 0,
    "JLSL": 0,
    "JPLL": 0,
    "JLSN": 4,
}
"""Largest difference from the uncompressed original by the suffix of wg04_codecs."""


def test_every_exception_is_explained():
    unusual = {name for name, one in SETS.items() if one.others or one.refused or one.private}
    assert unusual == set(EXCEPTIONS)


@pytest.mark.parametrize("name", SETS)
def test_a_real_series_equals_its_reference(name, read, shared, tmp_path):
    one = SETS[name]
    quarantine, scans = read(one.place(shared, tmp_path / "some"))
    found = [(volume.array[0], volume.geometry.affine) for _, volume in scans]
    if one.refused:
        assert scans == []
        assert set(quarantine) <= {"secondary_capture", "color"}
        return
    worst, others = differences(found, one.wanted(shared))
    assert worst == [0.0] * len(worst)
    assert others <= one.others
    strays = {"multi_volume"} if one.others else set()
    assert set(quarantine) <= strays | ({"not_an_image"} if name in WITH_TEXT else set())


def test_the_four_transfer_syntaxes_are_equal(read, shared):
    quarantine, scans = read(shared / "data/dicom/transfer_syntaxes/in")
    assert len({scan.digest for scan, _ in scans}) == 1
    assert len(scans) + quarantine.get("duplicate", 0) == 4


def test_a_tilted_ct_keeps_its_shear(read, shared):
    _, [(scan, volume)] = read(shared / "data/dicom/ct_ge_gantry_tilt/in")
    assert "sheared" in scan.flags
    assert scan.provenance.acquisition["ShearAngle"] == pytest.approx(18.5, abs=0.1)
    assert sorted(volume.array.shape[1:]) == [6, 512, 512]


def test_real_diffusion_equals_its_bval_and_bvec(read, shared):
    folder = shared / "data/dicom/d2n_ge_dti"
    b_values = np.loadtxt(folder / "ref/001_ground_truth.bval").ravel()
    vectors = np.loadtxt(folder / "ref/001_ground_truth.bvec").reshape(3, -1).T
    _, scans = read(folder / "in")
    known = sorted(
        (scan.provenance.acquisition for scan, _ in scans), key=lambda a: a["DiffusionBValue"]
    )
    assert [a["DiffusionBValue"] for a in known] == sorted(b_values)
    across, down = np.array(_orientation(folder / "in")).reshape(2, 3)
    axes = np.array([across, -down, np.cross(across, down)])  # image axes, rows from below
    for about in known[1:]:
        along = axes @ np.array(about["DiffusionGradientOrientation"])
        assert min(np.abs(np.abs(vectors) - np.abs(along)).max(axis=1)) < 0.02
        assert min(_angle(along, vector) for vector in vectors) < 2


def _orientation(folder: Path) -> list[float]:
    return pydicom.dcmread(min(folder.iterdir())).ImageOrientationPatient


def _angle(one: np.ndarray, other: np.ndarray) -> float:
    """Degrees between two axes; a gradient's sign says nothing."""
    length = np.linalg.norm(one) * np.linalg.norm(other)
    return 90.0 if length == 0 else float(np.rad2deg(np.arccos(min(abs(one @ other) / length, 1))))


def original(shared: Path, name: str) -> np.ndarray:
    """The rescaled pixels of an uncompressed original, which lies there zstd-compressed."""
    packed = shared / f"data/dicom/wg04_codecs/uncompressed_zst/{name}_UNC.zst"
    data = pydicom.dcmread(
        pydicom.filebase.DicomBytesIO(imagecodecs.zstd_decode(packed.read_bytes()))
    )
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    return data.pixel_array * slope + intercept


@pytest.mark.parametrize("suffix", [*CODECS, "J2KI", "JPLY"])
@pytest.mark.parametrize("name", ["CT1", "MR3"])
def test_a_real_compressed_slice_equals_its_original(name, suffix, read, shared, tmp_path):
    source = shared / f"data/dicom/wg04_codecs/in/{name}_{suffix}"
    if not source.exists():
        pytest.skip(f"there is no {name}_{suffix}")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/slice").write_bytes(source.read_bytes())
    quarantine, [(scan, volume)] = read(tmp_path / "in")
    truth = original(shared, name)
    values = np.squeeze(volume.array[0]).astype(float)
    far = min(
        np.abs(turned - truth).max() for turned in _turns(values) if turned.shape == truth.shape
    )
    assert quarantine == {}
    assert far <= CODECS.get(suffix, 400)
    assert ("lossy" in scan.flags) == (suffix in ("JLSN", "J2KI", "JPLY"))


def _turns(values: np.ndarray) -> list[np.ndarray]:
    """The same plane in each of the eight orders that reorientation may give it."""
    flips = [values, values[::-1], values[:, ::-1], values[::-1, ::-1]]
    return [*flips, *(flip.T for flip in flips)]


def test_a_nuclear_capture_is_no_volume(read, shared, tmp_path):
    (tmp_path / "in").mkdir()
    source = shared / "data/dicom/wg04_codecs/in/NM1_RLE"
    (tmp_path / "in/slice").write_bytes(source.read_bytes())
    assert read(tmp_path / "in") == ({"secondary_capture": 1}, [])
