"""Every file of ../shared/data/broken, alone: a volume or exactly one reason, within limits.

Each is read by a process that may take 512 MB and 30 s (matrix/alone.py).
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ALONE = Path(__file__).parent / "matrix/alone.py"

VOLUMES = {
    "d2n_slicecount/IM-0001-0001-0001.dcm": [1, 256, 256],
    "d2n_slicecount/IM-0001-0002-0001.dcm": [1, 256, 256],
    "d2n_sliceorientation/IM-0001-0001-0001.dcm": [288, 288, 1],
    "d2n_sliceorientation/IM-0001-0001-0001 2.dcm": [1, 288, 288],
    "d2n_sliceorientation/IM-0001-0002-0001.dcm": [288, 288, 1],
    "d2n_sliceorientation/IM-0001-0002-0001 2.dcm": [1, 288, 288],
    "fo-dicom/GH610.dcm": [128, 128, 1],
    "nib_dicom/slicethickness_empty_string.dcm": [1, 384, 384],
    "nifti/anatomical.nii": [33, 41, 25],
    "nifti/standard.nii.gz": [4, 5, 7],
    "pydicom/MR_small_bigendian.dcm": [64, 64, 1],
    "pydicom/MR_small_padded.dcm": [64, 64, 1],
    "pydicom_new/J2K_pixelrep_mismatch.dcm": [512, 512, 1],
}
"""Shapes of the volumes that these files hold, in RAS+."""

CAPTURE, NO_IMAGE = "secondary_capture", "not_an_image"

REASONS = {
    "charsets/chrArab.dcm": CAPTURE,
    "charsets/chrFren.dcm": CAPTURE,
    "charsets/chrGreek.dcm": CAPTURE,
    "charsets/chrH31.dcm": CAPTURE,
    "charsets/chrH32.dcm": CAPTURE,
    "charsets/chrJapMulti.dcm": NO_IMAGE,  # a CR without pixels
    "charsets/chrSQEncoding.dcm": NO_IMAGE,
    "charsets/chrX1.dcm": CAPTURE,
    "fo-dicom/1403-OB.dcm": CAPTURE,
    "fo-dicom/GH1146.dcm": "truncated",
    "fo-dicom/GH1301.dcm": CAPTURE,
    "fo-dicom/GH178.dcm": NO_IMAGE,  # a capture without pixels
    "fo-dicom/GH179A.dcm": "truncated",
    "fo-dicom/GH195.dcm": CAPTURE,
    "fo-dicom/GH220.dcm": NO_IMAGE,
    "fo-dicom/GH227.dcm": CAPTURE,
    "fo-dicom/GH340.dcm": "color",  # does not say that it is monochrome
    "fo-dicom/GH487.dcm": NO_IMAGE,
    "fo-dicom/Issue1097_FailToOpenDeflatedFileWithSQ.dcm": NO_IMAGE,
    "nib_dicom/csa_slice_norm.dcm": NO_IMAGE,  # a mosaic without pixels
    "nib_dicom/decimal_rescale.dcm": "bad_element",  # neither series nor instance
    "nifti/analyze.hdr": "analyze",
    "nifti/example_nifti2.nii.gz": "multi_volume",
    "nifti/nifti1.hdr": "nifti_pair",
    "nifti/test.mgz": "mgh",
    "pydicom/ExplVR_LitEndNoMeta.dcm": NO_IMAGE,
    "pydicom/MR_truncated.dcm": "truncated",
    "pydicom/SC_rgb_small_odd.dcm": CAPTURE,
    "pydicom/badVR.dcm": "unsupported_modality",
    "pydicom/empty_charset_LEI.dcm": NO_IMAGE,
    "pydicom/emri_small_jpeg_2k_lossless_too_short.dcm": "no_subject",
    "pydicom/image_dfl.dcm": CAPTURE,
    "pydicom/meta_missing_tsyntax.dcm": NO_IMAGE,
    "pydicom/nested_priv_SQ.dcm": NO_IMAGE,
    "pydicom/no_meta.dcm": NO_IMAGE,
    "pydicom/no_meta_group_length.dcm": NO_IMAGE,
    "pydicom/reportsi_with_empty_number_tags.dcm": NO_IMAGE,
    "pydicom/rtplan.dcm": NO_IMAGE,
    "pydicom_new/DICOMDIR-empty.dcm": NO_IMAGE,
    "pydicom_new/DICOMDIR-nopatient": NO_IMAGE,
    "pydicom_new/UN_sequence.dcm": NO_IMAGE,
}
"""Why the others are refused."""


@pytest.fixture(scope="module")
def outcomes(shared, tmp_path_factory):
    root = shared / "data/broken"
    files = [root / name for name in (*VOLUMES, *REASONS)]
    command = [sys.executable, str(ALONE), str(tmp_path_factory.mktemp("alone")), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    answers = json.loads(done.stdout)
    return {Path(name).relative_to(root).as_posix(): answer for name, answer in answers.items()}


def test_no_broken_file_is_left_out(shared):
    root = shared / "data/broken"
    there = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert {n for n in there if not n.endswith("README.md")} == {*VOLUMES, *REASONS}


@pytest.mark.parametrize("name", VOLUMES)
def test_what_only_looks_broken_is_read(name, outcomes):
    assert outcomes[name] == {"shapes": [VOLUMES[name]], "refused": {}}


@pytest.mark.parametrize("name", REASONS)
def test_what_is_broken_has_exactly_one_reason(name, outcomes):
    assert outcomes[name] == {"shapes": [], "refused": {REASONS[name]: 1}}


def test_two_slices_a_millimeter_apart_are_a_volume(read, shared):
    _, [(_, volume)] = read(shared / "data/broken/d2n_slicecount")
    assert volume.array.shape == (1, 2, 256, 256)
    assert min(volume.geometry.spacing) == pytest.approx(1, abs=1e-3)


def test_two_orientations_in_one_series_are_two_volumes(read, shared):
    _, scans = read(shared / "data/broken/d2n_sliceorientation")
    shapes = sorted(volume.array.shape[1:] for _, volume in scans)
    assert shapes == [(2, 288, 288), (288, 288, 2)]
