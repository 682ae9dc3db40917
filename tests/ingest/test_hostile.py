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
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.quarantine import read_quarantine

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
    made = ingest(source, out, DEMO_KEYS, IngestConfig(min_matrix=1, localizers=True))
    sandbox.close_all()
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peaks = [resource.getrusage(one).ru_maxrss << 10 for one in who]
    print(json.dumps({"peaks": peaks, **json.loads((made.path / "summary.json").read_text())}))
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


def write_dicom_bombs(kit, folder: Path) -> dict[str, tuple[str, ...]]:
    """Compressed bombs by name, with the reasons that may refuse each."""
    plane: Callable[..., Dataset] = lambda **tags: kit.plane(kit.origin, **tags)  # noqa: E731
    kit.save(compressed(plane(), big_jpeg()), folder / "jpeg", JPEGBaseline8Bit)
    kit.save(compressed(plane(), big_jpegls()), folder / "jpegls", JPEGLSLossless)
    kit.save(compressed(plane(), big_j2k()), folder / "j2k", JPEG2000Lossless)
    rle = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 600
    sides = {"Rows": 60000, "Columns": 60000}
    kit.save(compressed(plane(), rle, **sides), folder / "rle", RLELossless)
    kit.save(compressed(plane(), rle, NumberOfFrames=90000), folder / "frames", RLELossless)
    kit.save(plane(**sides), folder / "native")
    huge = ("too_large", "decode_failed", "truncated", "bad_element", "multi_frame")
    return dict.fromkeys(("jpeg", "jpegls", "j2k", "rle", "frames", "native"), huge)


def write_deflated_bomb(kit, folder: Path) -> dict[str, tuple[str, ...]]:
    """One element of 1.5 GB of zeros, in 1.5 MB."""
    path = kit.save(kit.plane(kit.origin), folder / "deflated")
    data = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    length = struct.unpack("<I", data[140:144])[0]
    start = 144 + length
    meta = data[:140] + struct.pack("<I", length + 2) + data[144:start]
    at = meta.index(b"UI\x14\0" + b"1.2.840.10008.1.2.1.99")
    meta = meta[:at] + b"UI\x16\0" + meta[at + 4 :]
    packer, size = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS), 1_500_000_000
    body = packer.compress(b"\x09\x00\x01\x10OB\0\0" + struct.pack("<I", size))
    body += zeros(packer, 10_000_000, 150) + packer.flush()
    path.write_bytes(meta + body)
    return {"deflated": ("inflate_limit", "too_large", "truncated")}


def zeros(packer: "zlib._Compress", size: int, times: int) -> bytes:
    """So many blocks of zeros; after a full flush each is packed into the same bytes."""
    first = packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(size)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * times


def write_odd_elements(kit, folder: Path) -> dict[str, tuple[str, ...]]:
    """Sequences 200,000 deep, lengths beyond the file, and a million elements."""
    for name in ("deep", "length", "many"):
        kit.save(kit.plane(kit.origin), folder / name)
    whole = (folder / "deep").read_bytes()
    at = whole.index(b"\x10\x00\x10\x00PN")
    (folder / "deep").write_bytes(whole[:at] + NESTED * 200_000)
    (folder / "length").write_bytes(
        whole[:at] + b"\x09\0\x10\x10OB\0\0\xf0\xff\xff\xff" + b"x" * 99
    )
    many = b"".join(
        struct.pack("<HH", 9, n % 60000 + 16) + b"SH\x02\x00ab" for n in range(1_000_000)
    )
    (folder / "many").write_bytes(whole[:at] + many)
    damaged = ("depth_limit", "bad_element", "truncated", "not_an_image", "not_dicom", "no_subject")
    return dict.fromkeys(("deep", "length", "many"), (*damaged, "too_large", "timeout"))


def write_other_bombs(folder: Path) -> dict[str, tuple[str, ...]]:
    """A gzip of 2 GB behind a small header, a header of terabytes, a picture of 30000 x 30000."""
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 3000))
    (folder / "huge.nii").write_bytes(header.binaryblock + bytes(1000))
    header.set_data_shape((1500, 1500, 1500))
    members = gzip.compress(header.binaryblock + bytes(4)) + gzip.compress(bytes(20_000_000)) * 100
    (folder / "bomb.nii.gz").write_bytes(members)
    (folder / "bomb.png").write_bytes(png_of_zeros(30000))
    large = ("too_large", "inflate_limit")
    return dict.fromkeys(
        ("huge.nii", "bomb.nii.gz", "bomb.png"), (*large, "truncated", "no_geometry")
    )


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


def run_apart(source: Path, out: Path) -> dict:
    """Ingest in a process of its own; its summary and the peaks of its memory."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, source, out], capture_output=True, text=True, timeout=300
    )
    assert (run.returncode, run.stderr) == (0, "")
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", ["codecs", "deflated", "elements", "others"])
def test_a_bomb_is_refused_with_a_reason_and_within_512_mb(kit, tmp_path, kind):
    folder = tmp_path / "in"
    folder.mkdir()
    allowed = {
        "codecs": lambda: write_dicom_bombs(kit, folder),
        "deflated": lambda: write_deflated_bomb(kit, folder),
        "elements": lambda: write_odd_elements(kit, folder),
        "others": lambda: write_other_bombs(folder),
    }[kind]()
    told = run_apart(folder, tmp_path / "out")
    assert told["num_volumes"] == 0
    assert sum(told["quarantined"].values()) == len(allowed)
    assert set(told["quarantined"]) <= {
        reason for reasons in allowed.values() for reason in reasons
    }
    assert max(told["peaks"]) <= MOST_BYTES


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
    Image.fromarray(gray()).save(tree / "a.png")
    secret = tmp_path / "in" / ".." / "out-of-reach.png"
    rows = (
        f"image,patient_id\na.png,P\n../out-of-reach.png,Q\n{secret.resolve()},R\n/etc/passwd,S\n"
    )
    (tree / "metadata.csv").write_text(rows)
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
    """Files to damage: native, JPEG-LS, RLE, real ones, NIfTI."""
    folder.mkdir()
    plane = lambda: kit.plane(kit.origin, shape=(16, 16), PatientAge="050Y")  # noqa: E731
    kit.save(plane(), folder / "native")
    kit.save(compressed(plane(), imagecodecs.jpegls_encode(gray())), folder / "ls", JPEGLSLossless)
    kit.save(compressed(plane(), imagecodecs.jpeg8_encode(gray())), folder / "jp", JPEGBaseline8Bit)
    nib.save(nib.Nifti1Image(np.ones((5, 6, 7), np.int16), np.eye(4)), folder / "a.nii")
    for real in ("siemens_xa10_enhanced", "transfer_syntaxes"):
        files = (path for path in sorted((shared / "data/dicom" / real / "in").rglob("*")))
        shutil.copy(min((p for p in files if p.is_file()), key=lambda p: p.stat().st_size), folder)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_600_mutated_files_are_scans_or_counted(kit, shared, tree, tmp_path, rng):
    (tmp_path / "out").mkdir()
    whole = seeds(kit, tmp_path / "out" / "seeds", shared)
    for number in range(600):
        data = bytearray(whole[number % len(whole)])
        for place in rng.integers(0, min(len(data), 1500), rng.integers(1, 8)):
            data[place] = rng.integers(0, 256)
        cut = int(rng.integers(1, len(data))) if number % 9 == 0 else len(data)
        (tree / f"{number}").write_bytes(data[:cut])
    made = ingest(tree, tmp_path / "out", DEMO_KEYS, CONFIG)
    summary = json.loads((made.path / "summary.json").read_text())
    assert summary["num_files"] == 600
    files = summary["num_read"] + sum(read_quarantine(made.path).values())
    assert files + sum(summary["left_out"].values()) >= 600
