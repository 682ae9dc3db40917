"""Compressed images decode to the numbers that went in, or are refused by name."""

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEGLSLossless

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.dicom.codec import RLE, decode_fragment, is_near_lossless

PREFIX = "1.2.840.10008.1.2.4."
RAMP = np.add.outer(np.arange(24), 40 * np.arange(20)).astype(np.uint16)
LOSSLESS = {
    "57": imagecodecs.ljpeg_encode,
    "70": imagecodecs.ljpeg_encode,
    "80": imagecodecs.jpegls_encode,
    "90": lambda image: imagecodecs.jpeg2k_encode(image, reversible=True, codecformat="j2k"),
    "201": lambda image: imagecodecs.htj2k_encode(image, reversible=True),
    "110": lambda image: imagecodecs.jpegxl_encode(image, lossless=True),
}


def decoded(number, data, shape=RAMP.shape, allocated=16, stored=16, signed=False):
    return decode_fragment(f"{PREFIX}{number}", data, shape, allocated, stored, signed)


@pytest.mark.parametrize("number", LOSSLESS)
def test_lossless_syntaxes_give_back_every_value(number):
    image = decoded(number, LOSSLESS[number](RAMP))
    assert image.dtype == np.uint16
    assert np.array_equal(image, RAMP)


def test_run_lengths_give_back_every_value():
    image = np.arange(480, dtype="<u2").reshape(24, 20) * 137
    planes = [
        imagecodecs.packbits_encode(image.view("u1")[:, byte::2].tobytes()) for byte in (1, 0)
    ]
    head = np.array([2, 64, 64 + len(planes[0]) + len(planes[0]) % 2, *[0] * 13], "<u4").tobytes()
    data = head + planes[0] + b"\0" * (len(planes[0]) % 2) + planes[1]
    assert np.array_equal(decode_fragment(RLE, data, (24, 20), 16, 16, False), image)


def test_jpeg_of_8_and_12_bits_is_close():
    small = (RAMP // 4).astype(np.uint8)
    assert (
        abs(
            decoded("50", imagecodecs.jpeg8_encode(small, level=99), allocated=8).astype(int)
            - small
        ).max()
        < 5
    )
    twelve = imagecodecs.jpeg8_encode(RAMP, level=99, bitspersample=12)
    assert abs(decoded("51", twelve, stored=12).astype(int) - RAMP).max() < 8


@pytest.mark.parametrize("is_stream_signed", [False, True])
def test_the_header_says_whether_a_jpeg_2000_image_is_signed(is_stream_signed):
    image = RAMP.astype(np.int16) - 400
    raw = image if is_stream_signed else image.view(np.uint16)
    data = imagecodecs.jpeg2k_encode(raw, reversible=True, codecformat="j2k")
    for signed in (False, True):
        bits = decoded("90", data, signed=signed)
        assert np.array_equal(bits.view(np.int16), image)


def test_a_sign_that_cannot_be_told_is_refused():
    data = imagecodecs.jpeg2k_encode(RAMP, reversible=True, codecformat="j2k")
    with pytest.raises(UnreadableScan, match="decode_failed"):
        decoded("90", data, stored=12, signed=True)


@pytest.mark.parametrize("number", [n for n in LOSSLESS if n != "110"])
def test_another_size_than_the_header_says_is_refused_before_decoding(number):
    with pytest.raises(UnreadableScan, match="decode_failed"):
        decoded(number, LOSSLESS[number](RAMP), shape=(20, 24))


def test_unknown_syntaxes_are_refused_by_name():
    with pytest.raises(UnreadableScan, match="unsupported_transfer_syntax"):
        decoded("102", b"\0" * 100)


def test_near_lossless_is_told_from_the_stream():
    assert is_near_lossless(imagecodecs.jpegls_encode(RAMP, level=3))
    assert not is_near_lossless(imagecodecs.jpegls_encode(RAMP))


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_an_image_in_several_fragments_is_put_together(kit, read, tmp_path, table):
    planes = kit.series(4, shape=(24, 20))
    for plane in planes:
        pixels = np.frombuffer(plane.PixelData, "<u2").reshape(24, 20)
        whole = [imagecodecs.jpegls_encode(pixels)]
        if table == "extended":
            plane.PixelData, plane.ExtendedOffsetTable, plane.ExtendedOffsetTableLengths = (
                encapsulate_extended(whole)
            )
        else:
            plane.PixelData = encapsulate(whole, fragments_per_frame=3, has_bot=table == "basic")
        plane["PixelData"].VR = "OB"
        kit.save(plane, tmp_path / "in" / plane.SOPInstanceUID, JPEGLSLossless)
    quarantine, [(scan, volume)] = read(tmp_path / "in")
    assert quarantine == {}
    assert kit.worst_error(volume) <= 1.2
    assert "lossy" not in scan.flags


def test_near_lossless_data_under_a_lossless_name_is_flagged(kit, read, tmp_path):
    for plane in kit.series(3, shape=(24, 20)):
        pixels = np.frombuffer(plane.PixelData, "<u2").reshape(24, 20)
        plane.PixelData = encapsulate([imagecodecs.jpegls_encode(pixels, level=1)])
        plane["PixelData"].VR = "OB"
        kit.save(plane, tmp_path / "in" / plane.SOPInstanceUID, JPEGLSLossless)
    _, [(scan, volume)] = read(tmp_path / "in")
    assert kit.worst_error(volume) <= 2.2
    assert "lossy" in scan.flags


def test_one_damaged_image_does_not_lose_the_series(kit, read, tmp_path):
    for number, plane in enumerate(kit.series(6, shape=(24, 20))):
        data = imagecodecs.jpegls_encode(np.frombuffer(plane.PixelData, "<u2").reshape(24, 20))
        plane.PixelData = encapsulate([data[:40] if number == 2 else data])
        plane["PixelData"].VR = "OB"
        kit.save(plane, tmp_path / "in" / str(number), JPEGLSLossless)
    quarantine, [(scan, volume)] = read(tmp_path / "in")
    assert quarantine == {"decode_failed": 1}
    assert {"files_quarantined", "missing_slices"} <= set(scan.flags)
    assert kit.worst_error(volume) <= 1.2
