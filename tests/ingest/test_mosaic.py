"""Siemens mosaics: tiles become slices, at the place and in the order that the header implies."""

import struct

import numpy as np
import pytest

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.csa import csa_numbers, csa_values

GRID, SHAPE, STEP = 3, (12, 10), 3.0
OBLIQUE = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)


def csa(**values):
    """A CSA2 header of these entries."""
    data = b"SV10\4\3\2\1" + struct.pack("<ii", len(values), 77)
    for name, texts in values.items():
        data += struct.pack("<64si4siii", name.encode(), len(texts), b"FD", 0, len(texts), 77)
        for text in texts:
            raw = text.encode() + b"\0"
            data += struct.pack("<4i", len(raw), len(raw), 77, len(raw))
            data += raw + b"\0" * (-len(raw) % 4)
    return data


def mosaic(kit, count=7, *, sign=1, orientation=OBLIQUE, constant=0.0, header=True, **tags):
    """One mosaic whose tiles tell their own position."""
    across, down = np.array(orientation).reshape(2, 3)
    normal = sign * np.cross(across, down)
    options = {"orientation": orientation, "shape": SHAPE, "spacing": (1.5, 2.0)}
    first = np.array(kit.origin, float)
    tiles = [
        kit.plane(first + STEP * k * normal, constant=constant, **options) for k in range(count)
    ]
    canvas = np.zeros((GRID * SHAPE[0], GRID * SHAPE[1]), "<i2")
    for k, tile in enumerate(tiles):
        row, column = k // GRID * SHAPE[0], k % GRID * SHAPE[1]
        pixels = np.frombuffer(tile.PixelData, "<i2").reshape(SHAPE)
        canvas[row : row + SHAPE[0], column : column + SHAPE[1]] = pixels
    whole, excess = tiles[0], (GRID - 1) / 2
    corner = first - across * 2.0 * excess * SHAPE[1] - down * 1.5 * excess * SHAPE[0]
    whole.ImagePositionPatient = [f"{x:.9g}" for x in corner]
    whole.Rows, whole.Columns = canvas.shape
    whole.PixelData, whole.SpacingBetweenSlices = canvas.tobytes(), str(STEP)
    whole.Modality, whole.Manufacturer = "MR", "SIEMENS"
    whole.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    whole.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    whole.add_new(0x0019100A, "US", count)
    if header:
        vector = [f"{x:.8f}" for x in normal]
        values = csa(NumberOfImagesInMosaic=[str(count)], SliceNormalVector=vector)
        whole.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
        whole.add_new(0x00291010, "OB", values)
    for name, value in tags.items():
        setattr(whole, name, value)
    return whole


@pytest.mark.parametrize("sign", [1, -1])
def test_tiles_lie_where_the_slice_normal_says(kit, read, tmp_path, sign):
    kit.save(mosaic(kit, sign=sign), tmp_path / "in" / "x")
    quarantine, [(scan, volume)] = read(tmp_path / "in")
    assert quarantine == {}
    assert volume.geometry.spatial_shape == (10, 12, 7)
    assert kit.worst_error(volume) <= 1.2
    assert scan.flags == ()


def test_without_a_csa_header_the_order_is_flagged_as_assumed(kit, read, tmp_path):
    kit.save(mosaic(kit, header=False), tmp_path / "in" / "x")
    _, [(scan, volume)] = read(tmp_path / "in")
    assert kit.worst_error(volume) <= 1.2
    assert scan.flags == ("slice_order_assumed",)


def test_several_mosaics_are_times_in_order(kit, read, tmp_path):
    for name, number in zip("cab", (1, 2, 3), strict=True):
        tags = {"constant": 1000.0 * number, "AcquisitionNumber": number}
        kit.save(mosaic(kit, **tags), tmp_path / "in" / name)
    _, scans = read(tmp_path / "in")
    assert [kit.worst_error(v, 1000.0 * (n + 1)) <= 1.2 for n, (_, v) in enumerate(scans)] == [
        1
    ] * 3
    assert [s.provenance.acquisition["TemporalPositionIndex"] for s, _ in scans] == [1, 2, 3]


@pytest.mark.parametrize("fault", ["count", "size", "spacing", "normal", "garbage"])
def test_tiles_that_cannot_be_placed_are_refused(kit, read, tmp_path, fault):
    whole = mosaic(kit)
    if fault == "count":
        del whole[0x00290010], whole[0x00291010], whole[0x0019100A]
    if fault == "size":
        whole.Columns, whole.PixelData = GRID * SHAPE[1] - 1, whole.PixelData
    if fault == "spacing":
        del whole.SpacingBetweenSlices
    if fault == "normal":
        whole[0x00291010].value = csa(
            NumberOfImagesInMosaic=["7"], SliceNormalVector=["1", "0", "0"]
        )
    if fault == "garbage":
        whole[0x00291010].value = b"SV10" + b"\xff" * 64
    kit.save(whole, tmp_path / "in" / "x")
    reason = "bad_element" if fault == "garbage" else "mosaic"
    assert read(tmp_path / "in") == ({reason: 1}, [])


def test_csa_entries_are_read_by_name():
    data = csa(B_value=["1000"], Text=["abc", "d"], Empty=[])
    assert csa_values(data) == {"B_value": ("1000",), "Text": ("abc", "d"), "Empty": ()}
    assert csa_numbers(data, "B_value") == (1000.0,)
    assert csa_numbers(b"", "B_value") == ()


def test_no_cut_of_a_csa_header_is_read_past_its_end():
    data = csa(B_value=["1000"], Text=["abc", "d"])
    for size in range(9, len(data) - 4):
        with pytest.raises(UnreadableScan, match="bad_element"):
            csa_values(data[:size])
