"""Volumes whose voxels tell their own position: order, geometry, rescale and sign in one number."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from medsynth.core.keys import DEMO_KEYS

TOLERANCE = 1.2  # of the judge in reference/ingest.md


def rotation(about_z: float, about_x: float) -> np.ndarray:
    z, x = np.deg2rad([about_z, about_x])
    turn = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    tip = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    return turn @ tip


def only(read, folder, **options):
    """The one volume of a folder, which must come without quarantine."""
    quarantine, scans = read(folder, **options)
    assert quarantine == {}
    assert len(scans) == 1
    return scans[0]


def test_a_plain_series_keeps_values_and_places(kit, read, tmp_path):
    scan, volume = only(read, kit.save_all(kit.series(), tmp_path / "in"))
    assert volume.array.shape == (1, 10, 12, 8)
    assert volume.array.dtype == np.int16
    assert volume.geometry.is_ras
    assert kit.worst_error(volume) <= TOLERANCE
    assert scan.flags == ()


def test_an_oblique_series_keeps_its_rotation(kit, read, tmp_path):
    axes = rotation(15, 20)
    options = {"orientation": (*axes[:, 0], *axes[:, 1]), "spacing": (0.5, 1.25)}
    planes = kit.series(step=tuple(2.5 * axes[:, 2]), **options)
    _, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert kit.worst_error(volume) <= TOLERANCE
    assert np.allclose(sorted(volume.geometry.spacing), [0.5, 1.25, 2.5], atol=1e-4)


def test_a_sagittal_series_gets_its_axes_from_the_orientation(kit, read, tmp_path):
    planes = kit.series(step=(2, 0, 0), orientation=(0, 1, 0, 0, 0, -1))
    _, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert volume.geometry.spatial_shape == (8, 10, 12)
    assert kit.worst_error(volume) <= TOLERANCE


@pytest.mark.parametrize("numbers", ["against", "same", "absent"])
def test_instance_numbers_do_not_order_planes(kit, read, tmp_path, numbers):
    planes = kit.series()
    for plane in planes:
        plane.InstanceNumber = 99 - plane.InstanceNumber if numbers == "against" else 1
        if numbers == "absent":
            del plane.InstanceNumber
    _, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert kit.worst_error(volume) <= TOLERANCE


def test_a_fractional_slope_is_not_truncated(kit, read, tmp_path):
    planes = kit.series(slope=0.25, intercept=-100.0)
    _, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert volume.array.dtype == np.float32
    assert kit.worst_error(volume) <= TOLERANCE


def test_every_plane_is_rescaled_by_its_own_slope(kit, read, tmp_path):
    planes = [
        kit.plane(kit.at(0, 0, 2 * k), slope=(k + 1) / 16, intercept=0.0, Modality="PT")
        for k in range(6)
    ]
    _, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert kit.worst_error(volume) <= TOLERANCE


@pytest.mark.parametrize("step", [(0, 0.55, 2), (0.4, 0, 2)])
def test_a_tilted_or_drifting_stack_is_sheared_and_flagged(kit, read, tmp_path, step):
    scan, volume = only(read, kit.save_all(kit.series(step=step), tmp_path / "in"))
    assert "sheared" in scan.flags
    assert kit.worst_error(volume) <= TOLERANCE


def test_a_missing_plane_is_interpolated_and_flagged(kit, read, tmp_path):
    planes = kit.series()
    del planes[3]
    scan, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert volume.geometry.spatial_shape == (10, 12, 8)
    assert "missing_slices" in scan.flags
    assert kit.worst_error(volume) <= TOLERANCE


def test_variable_spacing_becomes_a_regular_grid_and_is_flagged(kit, read, tmp_path):
    heights = [0, 2, 4, 6, 8, 13, 18, 23]
    planes = [kit.plane(kit.at(0, 0, height)) for height in heights]
    scan, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert "variable_spacing" in scan.flags
    assert volume.geometry.spacing[2] < 2.2
    assert kit.worst_error(volume) <= TOLERANCE


def test_identical_planes_are_kept_once_and_counted(kit, read, tmp_path):
    planes = kit.series()
    again = kit.series()[2:4]
    quarantine, [(scan, volume)] = read(kit.save_all(planes + again, tmp_path / "in"))
    assert quarantine == {"duplicate": 2}
    assert volume.geometry.spatial_shape == (10, 12, 8)
    assert "duplicates_dropped" in scan.flags


def test_different_planes_at_one_place_are_refused(kit, read, tmp_path):
    planes = [*kit.series(), kit.plane(kit.origin, constant=500.0)]
    quarantine, scans = read(kit.save_all(planes, tmp_path / "in"))
    assert quarantine == {"duplicate_conflict": 9}
    assert scans == []


def test_jitter_of_positions_and_orientation_is_no_second_volume(kit, read, tmp_path):
    planes = [
        kit.plane(kit.at(0, 0, 2 * k + 0.004 * (k % 2)), orientation=(1, 1e-5 * k, 0, 0, 1, 0))
        for k in range(8)
    ]
    scan, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert not {"sheared", "missing_slices", "variable_spacing"} & set(scan.flags)
    assert kit.worst_error(volume) <= TOLERANCE


def test_echoes_of_one_series_are_volumes_of_their_own(kit, read, tmp_path):
    planes = [
        plane
        for echo in (1, 2, 3)
        for plane in kit.series(constant=1000.0 * echo, Modality="MR", EchoTime=str(10 * echo))
    ]
    quarantine, scans = read(kit.save_all(planes, tmp_path / "in"))
    assert quarantine == {}
    errors = [kit.worst_error(volume, 1000.0 * (n + 1)) for n, (_, volume) in enumerate(scans)]
    assert len(errors) == 3
    assert max(errors) <= TOLERANCE


def test_a_localizer_in_the_series_is_a_volume_of_its_own(kit, read, tmp_path):
    localizer = kit.plane(kit.origin, orientation=(0, 1, 0, 0, 0, -1))
    quarantine, scans = read(kit.save_all([*kit.series(), localizer], tmp_path / "in"))
    assert quarantine == {}
    assert [volume.array.size for _, volume in scans] == [120, 960]
    assert all(kit.worst_error(volume) <= TOLERANCE for _, volume in scans)


def test_a_change_of_pixel_spacing_splits_the_stack(kit, read, tmp_path):
    wide = kit.series(spacing=(2.0, 2.0))[4:]
    quarantine, scans = read(kit.save_all([*kit.series()[:4], *wide], tmp_path / "in"))
    assert quarantine == {}
    assert len(scans) == 2
    assert all(kit.worst_error(volume) <= TOLERANCE for _, volume in scans)


def test_one_plane_is_a_volume_with_an_assumed_step(kit, read, tmp_path):
    planes = [kit.plane(kit.origin, SliceThickness="5")]
    scan, volume = only(read, kit.save_all(planes, tmp_path / "in"))
    assert volume.geometry.spatial_shape == (10, 12, 1)
    assert volume.geometry.spacing[2] == pytest.approx(5)
    assert "single_slice" in scan.flags


def test_a_ct_without_geometry_is_refused(kit, read, tmp_path):
    planes = kit.series()
    for plane in planes:
        del plane.ImagePositionPatient, plane.ImageOrientationPatient
    assert read(kit.save_all(planes, tmp_path / "in")) == ({"no_geometry": 8}, [])


def test_a_truncated_plane_is_quarantined_and_the_rest_repaired(kit, read, tmp_path):
    folder = kit.save_all(kit.series(), tmp_path / "in")
    broken = kit.save(kit.series()[4], tmp_path / "in" / "again")
    whole = next(p for p in folder.iterdir() if p != broken and _height(p) == _height(broken))
    whole.write_bytes(broken.read_bytes()[:-100])
    broken.unlink()
    quarantine, [(scan, volume)] = read(folder)
    assert quarantine == {"truncated": 1}
    assert {"files_quarantined", "missing_slices"} <= set(scan.flags)
    assert kit.worst_error(volume) <= TOLERANCE


def _height(path):
    return float(dcmread(path).ImagePositionPatient[2])


def test_two_patients_never_share_a_volume(kit, read, tmp_path):
    planes = kit.series()
    for plane in planes[4:]:
        plane.PatientID = "P2"
    _, scans = read(kit.save_all(planes, tmp_path / "in"))
    assert len({scan.subject_id for scan, _ in scans}) == 2


def test_files_without_preamble_are_read(kit, read, tmp_path):
    (tmp_path / "in").mkdir()
    for number, plane in enumerate(kit.series()):
        path = tmp_path / "in" / f"{number}"
        plane.save_as(path, implicit_vr=True, little_endian=True)
    _, volume = only(read, tmp_path / "in")
    assert kit.worst_error(volume) <= TOLERANCE


def test_implicit_syntax_and_junk_above_the_stored_bits_are_read(kit, read, tmp_path):
    for number, plane in enumerate(kit.series(intercept=-200.0)):
        pixels = np.frombuffer(plane.PixelData, "<i2").astype(np.uint16)
        plane.PixelData = (pixels & 0x0FFF | 0x5000).astype("<u2").tobytes()
        plane.BitsStored, plane.HighBit, plane.PixelRepresentation = 12, 11, 0
        kit.save(plane, tmp_path / "in" / str(number), ImplicitVRLittleEndian)
    _, volume = only(read, tmp_path / "in")
    assert kit.worst_error(volume) <= TOLERANCE


def test_every_plane_knows_the_instances_it_came_from(kit, read, tmp_path):
    planes = kit.series(step=(-2, 0, 0), orientation=(0, 1, 0, 0, 0, -1))
    del planes[3]
    for path, plane in zip("abcdefg", planes, strict=True):
        kit.save(plane, tmp_path / "in" / path)
    _, [(scan, volume)] = read(tmp_path / "in")
    wanted = [f"sop-{DEMO_KEYS.digest('sop', p.SOPInstanceUID)[:24]}" for p in planes]
    wanted.insert(3, f"{wanted[2]}+{wanted[3]}")
    found = scan.provenance
    assert found.plane_axis == 0
    assert volume.array.shape[1] == len(found.plane_sources) == 8
    assert list(found.plane_sources) == wanted
    assert found.observed == pytest.approx(7 / 8)
