"""Diffusion encodings of the vendors, in the patient's frame, or refused."""

import numpy as np
import pytest

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.index import read_frames
from medsynth.ingest.source import InputFile

DIRECTION = (0.6, -0.48, 0.64)
TILTED = (0.96, 0.28, 0.0, -0.2688, 0.9216, 0.28)


def put(dataset, group, creator, elements):
    dataset.add_new(group << 16 | 0x0010, "LO", creator)
    for element, (vr, value) in elements.items():
        dataset.add_new(group << 16 | 0x1000 | element, vr, value)


def siemens(dataset, b, direction):
    put(dataset, 0x19, "SIEMENS MR HEADER", {0x0C: ("IS", str(b)), 0x0E: ("FD", list(direction))})


def philips(dataset, b, direction):
    put(dataset, 0x2001, "Philips Imaging DD 001", {0x03: ("FL", float(b))})
    parts = {0xB0 + n: ("FL", x) for n, x in enumerate(direction)}
    put(dataset, 0x2005, "Philips MR Imaging DD 001", parts)


def united(dataset, b, direction):
    elements = {0x09: ("FD", float(b)), 0x37: ("FD", list(direction))}
    put(dataset, 0x65, "Image Private Header", elements)


def ge(dataset, b, direction, phase="COL"):
    axes = np.array([float(x) for x in dataset.ImageOrientationPatient]).reshape(2, 3)
    x, y = axes @ direction
    z = -np.cross(*axes) @ np.array(direction)
    x, y = (x, y) if phase == "COL" else (-y, x)
    put(dataset, 0x43, "GEMS_PARM_01", {0x39: ("IS", [str(b), "8", "0", "0"])})
    values = {0xBB + n: ("DS", f"{v:.8f}") for n, v in enumerate((x, y, z))}
    put(dataset, 0x19, "GEMS_ACQU_01", values)
    dataset.InPlanePhaseEncodingDirection = phase


MAKERS = {
    "SIEMENS": siemens,
    "Philips Medical Systems": philips,
    "UIH": united,
    "GE MEDICAL SYSTEMS": ge,
}


def frame_of(kit, tmp_path, maker, write, **tags):
    plane = kit.plane(kit.origin, Modality="MR", Manufacturer=maker, orientation=TILTED, **tags)
    write(plane)
    path = kit.save(plane, tmp_path / "x")
    [frame] = read_frames(InputFile(path, "x", path.stat().st_size, 0), IngestConfig())
    return frame


@pytest.mark.parametrize("maker", MAKERS)
def test_private_encodings_are_read_in_the_patients_frame(kit, tmp_path, maker):
    frame = frame_of(kit, tmp_path, maker, lambda plane: MAKERS[maker](plane, 1000, DIRECTION))
    assert frame.acquisition["DiffusionBValue"] == 1000
    assert np.allclose(frame.acquisition["DiffusionGradientOrientation"], DIRECTION, atol=1e-4)
    assert frame.flags == ()


def test_the_elements_of_another_vendor_are_not_read(kit, tmp_path):
    frame = frame_of(kit, tmp_path, "Acme", lambda plane: siemens(plane, 1000, DIRECTION))
    assert "DiffusionBValue" not in frame.acquisition


def test_a_block_that_somebody_else_reserved_is_not_read(kit, tmp_path):
    def write(plane):
        siemens(plane, 1000, DIRECTION)
        plane[0x00190010].value = "ANOTHER HEADER"

    assert "DiffusionBValue" not in frame_of(kit, tmp_path, "SIEMENS", write).acquisition


def test_a_block_that_moved_is_found(kit, tmp_path):
    def write(plane):
        plane.add_new(0x00190010, "LO", "ANOTHER HEADER")
        plane.add_new(0x00190011, "LO", "SIEMENS MR HEADER")
        plane.add_new(0x0019110C, "IS", "700")

    assert frame_of(kit, tmp_path, "SIEMENS", write).acquisition["DiffusionBValue"] == 700


def test_ge_adds_a_billion_and_scales_by_length(kit, tmp_path):
    half = tuple(np.sqrt(0.5) * np.array(DIRECTION))
    frame = frame_of(
        kit, tmp_path, "GE MEDICAL SYSTEMS", lambda plane: ge(plane, 1_000_002_000, half)
    )
    assert frame.acquisition["DiffusionBValue"] == 1000
    assert np.allclose(frame.acquisition["DiffusionGradientOrientation"], DIRECTION, atol=1e-4)


def test_a_ge_frame_that_data_never_confirmed_is_flagged(kit, tmp_path):
    frame = frame_of(
        kit, tmp_path, "GE MEDICAL SYSTEMS", lambda plane: ge(plane, 1000, DIRECTION, "ROW")
    )
    assert np.allclose(frame.acquisition["DiffusionGradientOrientation"], DIRECTION, atol=1e-4)
    assert frame.flags == ("gradient_frame_assumed",)


@pytest.mark.parametrize(
    ("maker", "write"),
    [
        ("SIEMENS", lambda plane: siemens(plane, 1000, (0.3, 0.0, 0.0))),
        ("Acme", lambda plane: setattr(plane, "ImageType", ["ORIGINAL", "PRIMARY", "DIFFUSION"])),
    ],
)
def test_encodings_that_would_be_guessed_are_refused(kit, tmp_path, maker, write):
    with pytest.raises(UnreadableScan, match="unknown_diffusion"):
        frame_of(kit, tmp_path, maker, write)


def test_a_trace_image_has_a_b_value_and_no_direction(kit, tmp_path):
    frame = frame_of(
        kit, tmp_path, "Philips Medical Systems", lambda plane: philips(plane, 800, (0, 0, 0))
    )
    assert frame.acquisition["DiffusionBValue"] == 800
    assert "DiffusionGradientOrientation" not in frame.acquisition


def test_real_ge_gradients_equal_the_reference(shared):
    folder = shared / "data/dicom/d2n_ge_dti"
    found = set()
    for path in (folder / "in").iterdir():
        [frame] = read_frames(InputFile(path, path.name, path.stat().st_size, 0), IngestConfig())
        direction = frame.acquisition.get("DiffusionGradientOrientation", (0.0, 0.0, 0.0))
        found.add((frame.acquisition["DiffusionBValue"], *map(abs, direction)))
    values = np.loadtxt(folder / "ref/001_ground_truth.bval")
    vectors = np.abs(np.loadtxt(folder / "ref/001_ground_truth.bvec")).T
    assert found == {(b, *v) for b, v in zip(values.tolist(), vectors.tolist(), strict=True)}
