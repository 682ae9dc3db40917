"""Files to damage, and ways to damage them: what benchmarks/fuzz_ingest.py feeds to ingest.

Seeds are the cases of tests/ingest/matrix, the real files of ../shared/data, and small NIfTI
files, pictures and texts made here. Everything follows from one random generator.
"""

import gzip
import io
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ingest"))

from matrix.every import CASES

LARGEST_SEED = 300_000
FILES_OF_A_CASE = 4
_SERIES = b"1.2.826.0.1.3680043.8.498.1\0"  # of every case of the matrix
_LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

Mutation = Callable[[bytearray, np.random.Generator, bytes], bytes]


@dataclass(frozen=True)
class Seed:
    """A file to damage: where it comes from, its bytes and the end of its name."""

    kind: str
    data: bytes
    suffix: str = ""


def seeds(scratch: Path, shared: Path) -> list[Seed]:
    """Every seed, in an order that is always the same."""
    return [*_cases(scratch), *_real(shared), *_nifti(), *_pictures()]


def _cases(scratch: Path) -> Iterator[Seed]:
    for number, case in enumerate(CASES):
        folder = scratch / f"{number:03d}"
        case.write(folder)
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
        for path in files[:: max(1, len(files) // FILES_OF_A_CASE)][:FILES_OF_A_CASE]:
            if 0 < path.stat().st_size <= LARGEST_SEED:
                yield Seed("matrix", path.read_bytes())


def _real(shared: Path) -> Iterator[Seed]:
    for name in ("broken", "dicom", "phi"):
        for path in sorted((shared / "data" / name).rglob("*")):
            if path.is_file() and 0 < path.stat().st_size <= LARGEST_SEED:
                yield Seed(name, path.read_bytes(), "".join(path.suffixes[-2:]).lower())


def _nifti() -> Iterator[Seed]:
    values = np.arange(5 * 6 * 7)
    for dtype in ("i2", "u1", "f4", "f8", "u2"):
        for shape, image in (((5, 6, 7), nib.Nifti1Image), ((5, 6, 7, 1), nib.Nifti2Image)):
            made = image(values.astype(dtype).reshape(shape), np.diag([2.0, 1.5, 3.0, 1.0]))
            yield from _plain_and_packed(made.to_bytes())
    series = nib.Nifti1Image(np.tile(values.astype("i2"), 3).reshape(3, 5, 6, 7).T, np.eye(4))
    yield from _plain_and_packed(series.to_bytes())
    swapped = nib.Nifti1Image(values.astype(">i2").reshape(5, 6, 7), np.eye(4))
    header = swapped.header.as_byteswapped(">")
    yield from _plain_and_packed(header.binaryblock + bytes(4) + values.astype(">i2").tobytes())


def _plain_and_packed(data: bytes) -> Iterator[Seed]:
    """A body, its gzip, and the gzip in two members; bodies are damaged before packing, too."""
    yield Seed("nifti", data, ".nii")
    yield Seed("nifti.gz", gzip.compress(data, mtime=0), ".nii.gz")
    members = gzip.compress(data[:352], mtime=0) + gzip.compress(data[352:], mtime=0)
    yield Seed("nifti.gz", members, ".nii.gz")


def _pictures() -> Iterator[Seed]:
    gray = (np.arange(24 * 31) % 251).astype(np.uint8).reshape(24, 31)
    rgb = np.stack([gray, gray[::-1], gray[:, ::-1]], -1)
    wide = Image.fromarray(gray.astype(np.uint16) * 200)
    for image in (Image.fromarray(gray), wide, Image.fromarray(gray > 99)):
        yield Seed("picture", _written(image, "PNG"), ".png")
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            yield Seed("picture", _written(image, "TIFF", compression=compression), ".tif")
    for image in (Image.fromarray(gray), Image.fromarray(rgb)):
        yield Seed("picture", _written(image, "JPEG"), ".jpg")
        yield Seed("picture", _written(image, "JPEG", progressive=True), ".jpg")
    yield Seed("picture", _written(Image.fromarray(rgb), "PNG"), ".png")
    palette = Image.fromarray(rgb).convert("P")
    yield Seed("picture", _written(palette, "PNG", transparency=3), ".png")


def _written(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def mutants(pool: list[Seed], count: int, seed: int) -> Iterator[Seed]:
    """So many damaged files; half of the matrix, every other kind as often as the others."""
    rng = np.random.default_rng(seed)
    kinds: dict[str, list[Seed]] = {}
    for one in pool:
        kinds.setdefault(one.kind, []).append(one)
    names = sorted(kinds)
    for number in range(count):
        of_kind = kinds["matrix" if number % 2 else names[number // 2 % len(names)]]
        one = of_kind[rng.integers(len(of_kind))]
        yield Seed(one.kind, _damaged(one, pool, number, rng), one.suffix)


def datasets(count: int, seed: int) -> Iterator[dict[str, bytes]]:
    """So many folders of a BIDS dataset, or of pictures with a table, a third of whose files are
    damaged."""
    rng = np.random.default_rng([seed, 1])
    for number in range(count):
        whole = _bids() if number % 3 else _with_table()
        yield {
            name: mutated(data, rng, data) if rng.random() < 1 / 3 else data
            for name, data in whole.items()
        }


def _bids() -> dict[str, bytes]:
    image = nib.Nifti1Image(np.ones((5, 6, 7), np.int16), np.eye(4)).to_bytes()
    weighted = nib.Nifti1Image(np.ones((5, 6, 7, 2), np.int16), np.eye(4)).to_bytes()
    found = {
        "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.8.0"}',
        "participants.tsv": b"participant_id\tage\tsex\nsub-0\t50\tF\nsub-1\tn/a\tM\n",
        "participants.json": b'{"age": {"Units": "year"}, "sex": {"Levels": {"F": "female"}}}',
        "dwi.json": b'{"EchoTime": 0.08, "MagneticFieldStrength": 3}',
        ".bidsignore": b"extra/\n*_x.nii.gz\n",
    }
    for subject in ("sub-0", "sub-1", "sub-2"):
        anat, dwi = f"{subject}/anat/{subject}_T1w", f"{subject}/dwi/{subject}_dwi"
        packed = gzip.compress(image.replace(b"\1\0", subject.encode()[-2:]), mtime=0)
        found |= {f"{anat}.nii.gz": packed, f"{anat}.json": b'{"RepetitionTime": 2.3, "Age": 5}'}
        found |= {f"{dwi}.nii": weighted, f"{dwi}.bval": b"0 1000\n", f"{dwi}.json": b"{}"}
        found |= {f"{dwi}.bvec": b"0 1\n0 0\n0 0\n"}
    return found


def _with_table() -> dict[str, bytes]:
    pictures = {f"p{n}{one.suffix}": one.data for n, one in enumerate(_pictures())}
    rows = "".join(f"{name},P{n % 7},{50 + n}\n" for n, name in enumerate(pictures))
    return pictures | {"metadata.csv": f"image,patient_id,age\n{rows}".encode()}


def _damaged(one: Seed, pool: list[Seed], number: int, rng: np.random.Generator) -> bytes:
    data = one.data
    if rng.random() < 0.5:  # a series of its own, so that not all mutants fight over one place
        own = b"1.2.826.0.1.3680043.8.%05d\0" % (number % 100_000)
        data = data.replace(_SERIES, own)
    packed = one.kind == "nifti.gz" and rng.random() < 0.5
    if packed:
        data = gzip.decompress(data)
    other = pool[rng.integers(len(pool))].data
    data = mutated(data, rng, other)
    return gzip.compress(data, mtime=0) if packed else data


def mutated(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """One change, or seldom a few; small ones more often than those that cut."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = MUTATIONS[rng.integers(len(MUTATIONS))](bytearray(data or b"\0"), rng, other)
    return data


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """A place in a file, half of the time in its first kilobyte, where headers are."""
    return int(rng.integers(min(len(data), 1024) if rng.random() < 0.5 else len(data)))


def flip_bits(data: bytearray, rng: np.random.Generator, other: bytes) -> bytes:
    """A few bits the other way round."""
    for _ in range(rng.integers(1, 9)):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def run_of_bytes(data: bytearray, rng: np.random.Generator, other: bytes) -> bytes:
    """One value, or noise, over a stretch."""
    at, size = _place(data, rng), int(rng.integers(1, 64))
    noise = rng.integers(0, 256, size, np.uint8).tobytes()
    run = noise if rng.random() < 0.5 else bytes([int(rng.choice([0, 32, 127, 255]))]) * size
    return bytes(data[:at] + run + data[at + size :])


def truncate(data: bytearray, rng: np.random.Generator, other: bytes) -> bytes:
    """The end cut off."""
    return bytes(data[: 1 + _place(data, rng)])


def splice(data: bytearray, rng: np.random.Generator, other: bytes) -> bytes:
    """The head of one file, the tail of another."""
    at, after = _place(data, rng), int(rng.integers(len(other)))
    return bytes(data[:at] + other[after:])


def set_length(data: bytearray, rng: np.random.Generator, other: bytes) -> bytes:
    """Two, four or eight bytes that mean a length, a count or a number set to an extreme."""
    form = str(rng.choice(["<H", ">H", "<I", ">I", "<f", "<q"]))
    value = int(rng.choice(_LENGTHS))
    if form in ("<H", ">H"):
        value &= 0xFFFF
    number = float(rng.choice([np.nan, np.inf, -1e38, 1e-38])) if form == "<f" else value
    packed = struct.pack(form, number)
    at = _place(data, rng) & ~1
    data[at : at + len(packed)] = packed
    return bytes(data)


def repeat_block(data: bytearray, rng: np.random.Generator, other: bytes) -> bytes:
    """A stretch once more, or many times."""
    at, size = _place(data, rng), int(rng.integers(1, 512))
    times = int(rng.choice([1, 1, 2, 200]))
    return bytes(data[: at + size] + data[at : at + size] * times + data[at + size :])


def remove_block(data: bytearray, rng: np.random.Generator, other: bytes) -> bytes:
    """A stretch gone."""
    at = _place(data, rng)
    return bytes(data[:at] + data[at + int(rng.integers(1, 128)) :])


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    flip_bits,
    run_of_bytes,
    set_length,
    truncate,
    splice,
    set_length,
    repeat_block,
    remove_block,
)
