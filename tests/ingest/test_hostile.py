"""Files made to harm: each ends in a volume or in one reason code, within 512 MB, in its place."""

import gzip
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.files.nifti_config import NiftiConfig
from medsynth.ingest.quarantine import read_quarantine
from medsynth.ingest.reasons import REASONS

CONFIG = IngestConfig(min_matrix=1, localizers=True)
MOST_BYTES = 512 << 20
SIDE = struct.pack(">H", 60000)
PROGRAM = """
import json, resource, sys
from pathlib import Path
from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest import sandbox
if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    ingest(source, out, DEMO_KEYS, IngestConfig(min_matrix=1, localizers=True))
    sandbox.close_all()
    # Not its own ru_maxrss, which begins with what the process that started it had.
    (own,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM:" in line
    )
    codecs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps([int(own.split()[1]) << 10, codecs << 10]))
"""


def gray(**tags: object) -> np.ndarray:
    return (np.arange(64 * 64) % 251).astype(np.uint8).reshape(64, 64)


def compressed(plane: Dataset, data: bytes, **tags: object) -> Dataset:
    """A plane of 64 x 64 bytes whose pixels are one fragment."""
    plane.Rows, plane.Columns, plane.BitsAllocated = 64, 64, 8
    plane.BitsStored, plane.HighBit, plane.PixelRepresentation = 8, 7, 0
    for name, value in tags.items():
        setattr(plane, name, value)
    plane.PixelData = encapsulate([data])
    plane["PixelData"].is_undefined_length = True
    return plane


def big_jpeg() -> bytes:
    data = imagecodecs.jpeg8_encode(gray())
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + SIDE + SIDE + data[at + 4 :]


def big_jpegls() -> bytes:
    data = imagecodecs.jpegls_encode(gray())
    at = data.index(b"\xff\xf7") + 5
    return data[:at] + SIDE + SIDE + data[at + 4 :]


def big_j2k() -> bytes:
    data = imagecodecs.jpeg2k_encode(gray(), codecformat="j2k")
    at, side = data.index(b"\xff\x51") + 6, struct.pack(">I", 60000)
    return data[:at] + side + side + data[at + 8 : at + 16] + side + side + data[at + 24 :]


def spliced(path: Path, after: bytes) -> None:
    """Put elements at the end of a DICOM file's data set."""
    path.write_bytes(path.read_bytes() + after)


ITEM = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
NESTED = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff" + ITEM


def write_dicom_bombs(kit, folder: Path) -> dict[str, str]:
    """Compressed bombs by name, with the reason that refuses each."""
    plane: Callable[..., Dataset] = lambda **tags: kit.plane(kit.origin, **tags)  # noqa: E731
    kit.save(compressed(plane(), big_jpeg()), folder / "jpeg", JPEGBaseline8Bit)
    kit.save(compressed(plane(), big_jpegls()), folder / "jpegls", JPEGLSLossless)
    kit.save(compressed(plane(), big_j2k()), folder / "j2k", JPEG2000Lossless)
    rle = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 600
    sides = {"Rows": 60000, "Columns": 60000}
    kit.save(compressed(plane(), rle, **sides), folder / "rle", RLELossless)
    kit.save(plane(**sides), folder / "native")
    # 369 MB of frames would be allowed, but nothing says where they lie; 737 MB would not.
    kit.save(compressed(plane(), rle, NumberOfFrames=90000), folder / "frames8", RLELossless)
    deep = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "NumberOfFrames": 90000}
    kit.save(compressed(plane(), rle, **deep), folder / "frames16", RLELossless)
    large = dict.fromkeys(("rle", "native", "frames16"), "too_large")
    # Streams that contradict the header's size are not decoded at all.
    return (
        dict.fromkeys(("jpeg", "jpegls", "j2k"), "decode_failed")
        | large
        | {"frames8": "multi_frame"}
    )


def write_deflated_bombs(kit, folder: Path) -> dict[str, str]:
    """One element of 1.5 GB of zeros, in 1.5 MB; and the same stream cut short, and damaged."""
    path = kit.save(kit.plane(kit.origin), folder / "deflated", DeflatedExplicitVRLittleEndian)
    data = path.read_bytes()
    meta = data[: 144 + struct.unpack("<I", data[140:144])[0]]
    packer, size = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS), 1_500_000_000
    body = packer.compress(b"\x09\x00\x01\x10OB\0\0" + struct.pack("<I", size))
    body += zeros(packer, 10_000_000, 150) + packer.flush()
    path.write_bytes(meta + body)
    (folder / "deflated_cut").write_bytes(meta + body[:9000])
    (folder / "deflated_noise").write_bytes(meta + b"\xff" * 99)
    return {
        "deflated": "inflate_limit",
        "deflated_cut": "truncated",
        "deflated_noise": "decode_failed",
    }


def zeros(packer: "zlib._Compress", size: int, times: int) -> bytes:
    """So many blocks of zeros; after a full flush each is packed into the same bytes."""
    first = packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(size)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * times


def write_odd_elements(kit, folder: Path) -> dict[str, str]:
    """Sequences 200,000 deep, a length beyond the file, three million elements."""
    whole = kit.save(kit.plane(kit.origin), folder / "deep").read_bytes()
    head = whole[: whole.index(b"\x10\x00\x10\x00PN")]
    (folder / "deep").write_bytes(head + NESTED * 200_000)
    (folder / "length").write_bytes(head + b"\x09\0\x10\x10OB\0\0\xf0\xff\xff\xff" + b"x" * 99)
    some = b"".join(struct.pack("<HH", 9, n + 16) + b"SH\0\0" for n in range(60_000))
    (folder / "many").write_bytes(head + some * 50)
    return {"deep": "depth_limit", "length": "truncated", "many": "too_large"}


def write_other_bombs(folder: Path) -> dict[str, str]:
    """A gzip of 2 GB behind a small header, a header of terabytes, a picture of 30000 x 30000."""
    header = nib.Nifti1Header()
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"] = 352
    header.set_data_shape((30000, 30000, 3000))
    (folder / "huge.nii").write_bytes(header.binaryblock + bytes(1000))
    header.set_data_shape((1500, 1500, 1500))
    member = gzip.compress(bytes(20_000_000), 1)
    (folder / "bomb.nii.gz").write_bytes(
        gzip.compress(header.binaryblock + bytes(4)) + member * 100
    )
    header.set_data_shape((20, 20, 20))
    (folder / "tail.nii.gz").write_bytes(
        gzip.compress(header.binaryblock + bytes(4)) + member * 100
    )
    (folder / "bomb.png").write_bytes(png_of_zeros(30000))
    large = dict.fromkeys(("huge.nii", "bomb.nii.gz", "bomb.png"), "too_large")
    return large | {"tail.nii.gz": "trailing_data"}


def png_of_zeros(side: int) -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = zeros(packer, 30 * (side + 1), side // 30) + packer.flush()
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def refused(stage: Path) -> dict[str, str]:
    """Keyed id to reason of every file refused."""
    rows = pq.read_table(stage / "quarantine.parquet").to_pylist()
    return {row["keyed_id"]: row["reason"] for row in rows}


def keyed(name: str) -> str:
    return f"file-{DEMO_KEYS.digest('file', name)[:16]}"


def test_bombs_are_refused_each_with_its_reason_and_within_512_mb(kit, tmp_path):
    (folder := tmp_path / "in").mkdir()
    wanted = write_dicom_bombs(kit, folder) | write_deflated_bombs(kit, folder)
    wanted |= write_odd_elements(kit, folder) | write_other_bombs(folder)
    command = [sys.executable, "-W", "always", "-c", PROGRAM, folder, tmp_path / "out"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (run.returncode, run.stderr) == (0, "")
    found = refused(tmp_path / "out" / "manifest")
    assert {name: found.get(keyed(name)) for name in wanted} == wanted
    assert max(json.loads(run.stdout)) <= MOST_BYTES


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A folder of input, beside which nothing may appear but OUT."""
    (tmp_path / "in").mkdir()
    (tmp_path / "beside").write_text("as it was")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    yield tmp_path / "in"
    after = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != "out"}
    assert set(before) == set(after)
    assert (tmp_path / "beside").read_text() == "as it was"


def test_what_is_no_plain_file_is_not_opened(kit, tree, tmp_path):
    kit.save_all(kit.series(), tree)
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5)) if os.geteuid() == 0 else None
    (tree / "loop").symlink_to(tree)
    (tree / "passwd").symlink_to("/etc/passwd")
    (tree / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
        made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert json.loads((made.path / "summary.json").read_text())["num_files"] == 8
    assert read_quarantine(made.path) == {}


def test_hard_links_are_the_same_image_again(kit, tree, tmp_path):
    kit.save_all(kit.series(), tree)
    for number in range(5):
        os.link(tree / "IM000", tree / f"LINK{number}")
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert read_quarantine(made.path) == {"duplicate": 5}
    assert len(Manifest.read(made.path)) == 1


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "name", ["../../../../beside", "/tmp/absolute", "a/b/../c", "nul\0nul", "."]
)
def test_names_from_files_lead_nowhere(kit, tree, tmp_path, name):
    tags = dict.fromkeys(("SeriesInstanceUID", "StudyInstanceUID", "PatientID"), name)
    with_names = [kit.plane(kit.at(0, 0, 2 * k), **tags) for k in range(3)]
    for number, plane in enumerate(with_names):
        plane["SOPInstanceUID"].value = f"{name}{number}"
        kit.save(plane, tree / str(number))
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    stored = list(made.path.rglob("*.nii"))
    assert all(path.parent == made.path / "volumes" for path in stored)
    assert len(stored) + sum(read_quarantine(made.path).values()) in (1, 3)


def test_a_table_names_no_file_outside_its_folder(tree, tmp_path):
    (tmp_path / "out").mkdir()
    Image.fromarray(gray()).save(tree / "a.png")
    Image.fromarray(gray()[::-1]).save(tmp_path / "out" / "reach.png")
    reach = (tmp_path / "out" / "reach.png").resolve()
    named = ("a.png", "../out/reach.png", reach, "/etc/passwd")
    rows = "".join(f"{name},P{number}\n" for number, name in enumerate(named))
    (tree / "metadata.csv").write_text(f"image,patient_id\n{rows}")
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert len(Manifest.read(made.path)) == 1
    assert read_quarantine(made.path) == {"missing_file": 3}


@pytest.mark.parametrize(
    "head", [b"\x7fELF\x02\x01", b"MZ\x90\0", b"II*\0\x08\0", b"#!/bin/sh\nid\n"]
)
def test_an_executable_in_the_preamble_does_not_travel(kit, tree, tmp_path, head):
    for path in kit.save_all(kit.series(), tree).iterdir():
        path.write_bytes(head.ljust(128, b"\x01") + path.read_bytes()[128:])
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert len(Manifest.read(made.path)) == 1
    (stored,) = (made.path / "volumes").iterdir()
    assert head not in stored.read_bytes()[:400]
    assert not stored.stat().st_mode & 0o111


def seeds(kit, folder: Path, shared: Path) -> list[bytes]:
    """Files to damage: native, JPEG-LS, JPEG, multi-frame and mosaic, NIfTI, pictures."""
    folder.mkdir()
    plane = lambda: kit.plane(kit.origin, shape=(16, 16), PatientAge="050Y")  # noqa: E731
    kit.save(plane(), folder / "native")
    kit.save(compressed(plane(), imagecodecs.jpegls_encode(gray())), folder / "ls", JPEGLSLossless)
    kit.save(compressed(plane(), imagecodecs.jpeg8_encode(gray())), folder / "jp", JPEGBaseline8Bit)
    image = nib.Nifti1Image(np.ones((5, 6, 7, 2), np.int16), np.eye(4))
    nib.save(image, folder / "a.nii")
    nib.save(image, folder / "a.nii.gz")
    Image.fromarray(gray()).save(folder / "a.tif", compression="tiff_lzw")
    for real in ("siemens_xa10_enhanced", "transfer_syntaxes"):
        files = (path for path in sorted((shared / "data/dicom" / real / "in").rglob("*")))
        shutil.copy(min((p for p in files if p.is_file()), key=lambda p: p.stat().st_size), folder)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def write_mutated(whole: list[bytes], folder: Path, rng: np.random.Generator, count: int) -> None:
    for number in range(count):
        data = bytearray(whole[number % len(whole)])
        for place in rng.integers(0, min(len(data), 1500), rng.integers(1, 8)):
            data[place] = rng.integers(0, 256)
        cut = int(rng.integers(1, len(data))) if number % 9 == 0 else len(data)
        (folder / f"{number}").write_bytes(data[:cut])


def test_600_mutated_files_are_each_read_refused_or_left_out(
    kit, shared, tree, tmp_path, rng, capfd
):
    (tmp_path / "out").mkdir()
    write_mutated(seeds(kit, tmp_path / "out" / "seeds", shared), tree, rng, 600)
    config = CONFIG.model_copy(update={"nifti": NiftiConfig(volumes="split")})
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, config)
    summary = json.loads((made.path / "summary.json").read_text())
    num_refused = sum(summary["quarantined"].values())
    assert summary["num_read"] > 50
    assert summary["num_read"] + num_refused + sum(summary["left_out"].values()) == (
        600 + summary["num_read_in_part"]
    )
    assert set(summary["quarantined"]) <= set(REASONS)
    assert capfd.readouterr() == ("", "")


def test_a_plane_whose_values_overflow_costs_neither_the_series_nor_the_run(kit, tree, tmp_path):
    planes = kit.series()
    planes[3].RescaleSlope = "9e99"
    kit.save_all(planes, tree)
    lone = kit.plane(kit.origin, SeriesInstanceUID="1.9", RescaleSlope="9e99")
    kit.save(lone, tree / "lone")
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert read_quarantine(made.path) == {"nonfinite": 2}
    (scan,) = Manifest.read(made.path)
    assert {"missing_slices", "files_quarantined"} <= set(scan.flags)


def test_a_place_that_no_file_can_hold_is_refused(kit, tree, tmp_path):
    far = kit.plane(kit.origin, ImagePositionPatient=["0", "0", "9e99"])
    kit.save(far, tree / "far")
    image = nib.Nifti2Image(np.ones((3, 4, 5), np.int16), np.diag([2.0, 2, 2, 1]))
    image.header["srow_x"][3], image.header["vox_offset"] = 1e123, 544
    (tree / "far.nii").write_bytes(image.header.binaryblock + bytes(4) + bytes(120))
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert read_quarantine(made.path) == {"no_geometry": 2}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_directory_leads_nowhere(kit, tree, tmp_path):
    outside = kit.save(kit.plane(kit.origin), tmp_path / "out" / "reach")
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = ["..", "out", outside.name]
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    directory.DirectoryRecordSequence = [record]
    kit.save(directory, tree / "DICOMDIR")
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert read_quarantine(made.path) == {"not_an_image": 1}
    assert len(Manifest.read(made.path)) == 0


def test_a_table_that_is_a_link_is_not_read(tree, tmp_path):
    for name, pixels in (("a.png", gray()), ("b.png", gray()[::-1])):
        Image.fromarray(pixels).save(tree / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.csv").write_text("image,patient_id\na.png,P\n")
    (tree / "metadata.csv").symlink_to(tmp_path / "out" / "rows.csv")
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    assert len(Manifest.read(made.path)) == 2
