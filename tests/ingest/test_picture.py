"""Pictures: the stored values exactly, each correction flagged, or a reason."""

import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medsynth.core.errors import UnreadableScan
from medsynth.ingest.config import AttributeSource, IngestConfig
from medsynth.ingest.files.picture import read_picture
from medsynth.ingest.source import InputFile

ROWS, COLUMNS = 7, 5


@pytest.fixture
def gray(rng):
    return rng.integers(0, 256, (ROWS, COLUMNS), dtype=np.uint8)


@pytest.fixture
def deep(rng):
    return rng.integers(0, 65536, (ROWS, COLUMNS), dtype=np.uint16)


def read_one(path):
    """(pixels as rows and columns, flags)."""
    file = InputFile(path, path.name, path.stat().st_size, 0)
    volume, flags = read_picture(file, IngestConfig())
    return volume.array[0, ::-1, ::-1, 0].T, flags


def refusal(path):
    with pytest.raises(UnreadableScan) as caught:
        read_one(path)
    return caught.value.reason


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def png(width, height, depth, color, rows):
    """A PNG of these compressed rows, whatever its header says."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(pixels, *, orientation=1, photometric=1):
    """An uncompressed little-endian TIFF of one strip."""
    (height, width), data = pixels.shape, pixels.tobytes()
    bits = pixels.dtype.itemsize * 8
    words = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 274: orientation}
    words |= {277: 1, 278: height}
    tags = [struct.pack("<HHIHxx", tag, 3, 1, value) for tag, value in words.items()]
    tags += [struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((273, 8), (279, len(data)))]
    tags.sort(key=lambda tag: struct.unpack("<H", tag[:2]))
    directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_gray_values_are_exact_with_8_and_16_bits(tmp_path, gray, deep, name):
    for pixels in (gray, deep):
        found, flags = read_one(saved(tmp_path / name, pixels))
        assert found.dtype == pixels.dtype
        assert np.array_equal(found, pixels)
        assert flags == ("spacing_assumed",)


def test_jpeg_is_flagged_as_lossy(tmp_path, gray):
    found, flags = read_one(saved(tmp_path / "a.jpg", gray, quality=100, progressive=True))
    assert "lossy" in flags
    assert np.abs(found.astype(int) - gray).max() <= 2


def test_few_bits_are_not_spread_over_eight(tmp_path):
    (tmp_path / "a.png").write_bytes(png(4, 1, 2, 0, b"\0\x1b"))
    assert read_one(tmp_path / "a.png")[0].tolist() == [[0, 1, 2, 3]]
    (tmp_path / "a.png").write_bytes(png(2, 1, 4, 0, b"\0\x1e"))
    assert read_one(tmp_path / "a.png")[0].tolist() == [[1, 14]]


def test_compressed_and_floating_tiffs_are_read(tmp_path, gray):
    found, _ = read_one(saved(tmp_path / "a.tif", gray, compression="tiff_lzw"))
    assert np.array_equal(found, gray)
    assert np.array_equal(read_one(saved(tmp_path / "b.tif", gray / np.float32(8)))[0], gray / 8)


def test_white_is_zero_keeps_the_stored_values_and_is_flagged(tmp_path, gray, deep):
    for pixels in (gray, deep):
        (tmp_path / "a.tif").write_bytes(tiff(pixels, photometric=0))
        found, flags = read_one(tmp_path / "a.tif")
        assert np.array_equal(found, pixels)
        assert "monochrome1" in flags


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_to_be_turned_is_turned_and_flagged(tmp_path, gray, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    found, flags = read_one(saved(tmp_path / "a.png", gray, exif=exif))
    upright = {
        2: gray[:, ::-1],
        3: gray[::-1, ::-1],
        4: gray[::-1],
        5: gray.T,
        6: np.rot90(gray, -1),
        7: gray[::-1, ::-1].T,
        8: np.rot90(gray),
    }[orientation]
    assert np.array_equal(found, upright)
    assert "orientation_applied" in flags
    (tmp_path / "a.tif").write_bytes(tiff(gray, orientation=orientation))
    assert refusal(tmp_path / "a.tif") == "rotated"


def test_color_is_refused_unless_it_is_gray(tmp_path, gray):
    equal = np.stack([gray, gray, gray], -1)
    assert np.array_equal(read_one(saved(tmp_path / "a.png", equal))[0], gray)
    Image.fromarray(equal).quantize(256).save(tmp_path / "b.png")
    assert np.array_equal(read_one(tmp_path / "b.png")[0], gray)
    equal[0, 0, 2] ^= 1
    assert refusal(saved(tmp_path / "a.png", equal)) == "color"
    Image.fromarray(equal).quantize(256).save(tmp_path / "b.png")
    assert refusal(tmp_path / "b.png") == "color"
    Image.fromarray(equal).convert("CMYK").save(tmp_path / "c.jpg")
    assert refusal(tmp_path / "c.jpg") == "color"


def test_what_pillow_would_cut_down_is_refused(tmp_path, gray):
    (tmp_path / "a.png").write_bytes(png(1, 1, 16, 2, b"\0" + b"\1\2" * 3))
    assert refusal(tmp_path / "a.png") == "unsupported_pixels"
    assert refusal(saved(tmp_path / "b.png", np.stack([gray] * 4, -1))) == "transparent"
    pages = [Image.fromarray(gray)]
    Image.fromarray(gray).save(tmp_path / "c.tif", save_all=True, append_images=pages)
    assert refusal(tmp_path / "c.tif") == "multi_page"


def test_broken_pictures_and_bombs_are_counted_by_reason(read, tmp_path, rng):
    noise = rng.integers(0, 256, (80, 80), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg", "c.tif"):
        data = saved(tmp_path / name, noise).read_bytes()
        (tmp_path / "in" / name).write_bytes(data[: len(data) // 2])
    (tmp_path / "in" / "d.png").write_bytes(png(60000, 60000, 8, 0, b""))
    (tmp_path / "in" / "e.png").write_bytes(png(12000, 12000, 8, 0, b""))
    (tmp_path / "in" / "f.png").write_bytes(png(4, 4, 8, 0, b"")[:30])
    refused, scans = read(tmp_path / "in")
    assert (refused, scans) == ({"truncated": 3, "too_large": 2, "decode_failed": 1}, [])


def test_a_table_says_whose_a_picture_is_and_what_is_known(read, tmp_path, gray):
    (tmp_path / "in/images").mkdir(parents=True)
    for number in range(3):
        saved(tmp_path / f"in/images/{number}.png", gray + number)
    (tmp_path / "in/metadata.csv").write_text(
        "image,patient_id,age\nimages/0.png,A,50\nimages/1.png,A,51\nimages/9.png,B,52\n"
    )
    config = IngestConfig(min_matrix=1, attributes={"age": AttributeSource(low=0, high=89)})
    refused, scans = read(tmp_path / "in", config)
    assert refused == {"missing_file": 1}
    assert len({scan.subject_id for scan, _ in scans}) == 1
    assert sorted(scan.attributes["age"] for scan, _ in scans) == [50, 51]


def test_real_pictures_and_their_table_are_read(read, shared, tmp_path):
    cohort = shared / "data/cohort2d/soop_brain_128"
    head, *lines = (cohort / "metadata.csv").read_text().splitlines()
    old = [line for line in lines if ",89+," in line][:2]
    lines = lines[:10] + old
    (tmp_path / "in/images").mkdir(parents=True)
    for line in lines:
        shutil.copy(cohort / line.split(",")[0], tmp_path / "in/images")
    (tmp_path / "in/metadata.csv").write_text("\n".join([head, *lines]) + "\n")
    refused, scans = read(tmp_path / "in", IngestConfig())
    assert (refused, len(scans)) == ({}, 12)
    assert [flag for scan, _ in scans for flag in scan.flags].count("top_coded") == 2
