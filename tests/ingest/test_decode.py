"""Transfer syntaxes decode to equal values; bombs are refused before they explode."""

import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.decode import narrowed


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression_keeps_every_value(kit, read, tmp_path, syntax):
    for number, plane in enumerate(kit.series(3, shape=(64, 48))):
        kit.save(plane, tmp_path / "in" / str(number))
        plane.compress(syntax, generate_instance_uid=False)
        kit.save(plane, tmp_path / "in" / str(number), syntax)
    quarantine, [(scan, volume)] = read(tmp_path / "in")
    assert quarantine == {}
    assert kit.worst_error(volume) <= 1.2
    assert "lossy" not in scan.flags


def test_big_endian_values_are_swapped(kit, read, tmp_path):
    for number, plane in enumerate(kit.series(3)):
        plane.PixelData = np.frombuffer(plane.PixelData, "<i2").byteswap().tobytes()
        kit.save(plane, tmp_path / "in" / str(number), ExplicitVRBigEndian)
    _, [(_, volume)] = read(tmp_path / "in")
    assert kit.worst_error(volume) <= 1.2


def test_deflated_files_are_inflated(kit, read, tmp_path):
    for number, plane in enumerate(kit.series(3)):
        kit.save(plane, tmp_path / "in" / str(number), DeflatedExplicitVRLittleEndian)
    _, [(_, volume)] = read(tmp_path / "in")
    assert kit.worst_error(volume) <= 1.2


def test_a_deflate_bomb_is_refused_under_the_cap(kit, read, tmp_path):
    path = kit.save(kit.plane(kit.origin), tmp_path / "in" / "x", DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = squeeze.compress(b"\x08\x00\x08\x00" * 20_000_000) + squeeze.flush()
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    path.write_bytes(data[:start] + body)
    tracemalloc.start()
    try:
        quarantine, _ = read(tmp_path / "in", IngestConfig(max_bytes=1 << 22))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert quarantine == {"inflate_limit": 1}
    assert peak < 60_000_000


def test_a_declared_giant_is_refused_before_decoding(kit, read, tmp_path):
    plane = kit.plane(kit.origin)
    kit.save(plane, tmp_path / "in" / "x")
    plane.compress(RLELossless)
    plane.Rows = plane.Columns = 60000
    kit.save(plane, tmp_path / "in" / "x", RLELossless)
    assert read(tmp_path / "in")[0] == {"too_large": 1}


def test_deep_nesting_is_refused(kit, read, tmp_path):
    path = kit.save(kit.plane(kit.origin), tmp_path / "in" / "x")
    item, sequence = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
    data = path.read_bytes()
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    path.write_bytes(data[:start] + (sequence + item) * 20_000)
    assert read(tmp_path / "in")[0] == {"depth_limit": 1}


def test_monochrome1_keeps_its_values(kit, read, tmp_path):
    planes = kit.series(3, PhotometricInterpretation="MONOCHROME1")
    _, [(scan, volume)] = read(kit.save_all(planes, tmp_path / "in"))
    assert kit.worst_error(volume) <= 1.2
    assert "monochrome1" in scan.flags


def test_a_detector_image_is_a_flagged_plane(kit, read, tmp_path):
    plane = kit.plane(kit.origin, Modality="DX", ImagerPixelSpacing=["2", "3"])
    del plane.ImagePositionPatient, plane.ImageOrientationPatient, plane.PixelSpacing
    _, [(scan, volume)] = read(kit.save_all([plane], tmp_path / "in"))
    assert volume.geometry.spatial_shape == (10, 12, 1)
    assert volume.geometry.spacing[:2] == (3, 2)
    assert "detector_plane" in scan.flags


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary_capture"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "color"),
        ({"BurnedInAnnotation": "YES"}, "burned_in_text"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic"),
        ({"NumberOfFrames": 3}, "multi_frame"),
        ({"Modality": "SEG"}, "unsupported_modality"),
        ({"PatientID": ""}, "no_subject"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "no_geometry"),
        ({"BitsStored": 20}, "bad_element"),
    ],
)
def test_what_cannot_be_a_volume_is_refused_by_name(kit, read, tmp_path, tags, reason):
    kit.save_all([kit.plane(kit.origin, **tags)], tmp_path / "in")
    assert read(tmp_path / "in") == ({reason: 1}, [])


def test_the_smallest_type_that_holds_every_value_is_stored():
    small, large = np.array([[-5, 3]]), np.array([[40_000, 2]])
    assert [a.dtype.name for a in narrowed([small])] == ["int16"]
    assert [a.dtype.name for a in narrowed([large])] == ["uint16"]
    assert [a.dtype.name for a in narrowed([small, large])] == ["float32", "float32"]
    assert [a.dtype.name for a in narrowed([large / 3])] == ["float32"]
