"""Speed and size of ingest beside its peers: B1 and B2 of reference/performance.md.

One run, same files, interleaved; ratios are medians of pairs, with their quartiles. Run by hand:

    OMP_NUM_THREADS=1 python benchmarks/ingest_speed.py [--rounds 5] [--instances 50000]
        [--room FOLDER] [--write]

dicom2nifti comes from .peers (`make peers`).
"""

import argparse
import gzip
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks/ingest-speed.md"
SHAPE = (200, 512, 512)


@dataclass(frozen=True)
class Line:
    """One comparison: how many times as fast (or as long) as a peer, and the goal."""

    what: str
    ratios: tuple[float, ...]
    goal: str
    seconds: str

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        low, middle, high = np.percentile(self.ratios, [25, 50, 75])
        return self.what, f"{middle:.2f}", f"{low:.2f}-{high:.2f}", self.goal, self.seconds


def write_ct(folder: Path, planes: int, *, jpegls: bool = False, series: str = "1") -> Path:
    """A CT of smooth anatomy and noise, as real ones have, in signed 16 bit."""
    folder.mkdir(parents=True)
    rng, (rows, columns) = np.random.default_rng(0), SHAPE[1:]
    row, column = np.mgrid[:rows, :columns]
    body = 1000 * np.exp(-((((row - 256) / 190) ** 2 + ((column - 256) / 150) ** 2) ** 4))
    for number in range(planes):
        pixels = (body + rng.normal(0, 12, body.shape) + 4 * number).astype("<i2")
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.Modality, dataset.PatientID, dataset.PatientName = "CT", "P1", "Doe^Jane"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", f"1.2.3.{series}"
        dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", "1", str(number + 1)
        dataset.StudyDate, dataset.Manufacturer = "20200101", "SIEMENS"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImagePositionPatient = [-200.0, -180.0, 2.0 * number]
        dataset.ImageOrientationPatient = [1.0, 0, 0, 0, 1.0, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 2.0
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 1
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
        dataset.PixelData = pixels.tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if jpegls:
            dataset.compress(JPEGLSLossless, pixels)
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return folder


def ours(source: Path, out: Path, workers: object = None) -> None:
    """The whole stage: index, decode, stack, check, store, digest, page, receipt."""
    from medsynth.core.keys import DEMO_KEYS
    from medsynth.ingest.archive import ingest
    from medsynth.ingest.workers import Here

    ingest(source, out, DEMO_KEYS, workers=workers or Here())


def dcm2niix(source: Path, out: Path) -> None:
    out.mkdir()
    tool = Path(sys.executable).with_name("dcm2niix")
    subprocess.run([tool, "-z", "n", "-b", "n", "-o", out, source], check=True, capture_output=True)


def monai(source: Path, out: Path) -> None:
    from monai.data import PydicomReader

    reader = PydicomReader()
    reader.get_data(reader.read(str(source)))


def dicom2nifti(source: Path, out: Path) -> None:
    """As it is called where nothing is said: gzipped, reoriented."""
    _dicom2nifti(source, out)


def dicom2nifti_bare(source: Path, out: Path) -> None:
    """Neither gzipped nor reoriented; ours is reoriented."""
    _dicom2nifti(source, out, compression=False, reorient=False)


def _dicom2nifti(source: Path, out: Path, **options: bool) -> None:
    if (folder := str(ROOT / ".peers/dicom2nifti")) not in sys.path:
        sys.path.append(folder)
    import dicom2nifti as peer

    out.mkdir()
    peer.convert_directory(str(source), str(out), **options)


def pydicom(source: Path, out: Path) -> None:
    """Decoded and stacked, no more."""
    np.stack([dcmread(path).pixel_array for path in sorted(source.iterdir())])


def pydicom_written(source: Path, out: Path) -> None:
    """Decoded, stacked and written as .nii, unchecked, with an affine of ones."""
    volume = np.stack([dcmread(path).pixel_array for path in sorted(source.iterdir())])
    out.mkdir()
    nib.save(nib.Nifti1Image(volume.T, np.eye(4)), out / "a.nii")


def decoded(source: Path, out: Path) -> None:
    """Our planes, decoded in the sandbox, masked and rescaled, no more."""
    from medsynth.ingest.config import IngestConfig
    from medsynth.ingest.dicom.decode import decode_frames
    from medsynth.ingest.dicom.index import read_frames
    from medsynth.ingest.source import walk

    config = IngestConfig()
    frames = [frame for file in walk(source) for frame in read_frames(file, config)]
    decode_frames(frames, config, lambda frame: nullcontext())


def timed(function: Callable[[Path, Path], None], source: Path, room: Path) -> float:
    out = room / "out"
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    function(source, out)
    return time.perf_counter() - start


def interleaved(
    functions: Sequence[Callable[[Path, Path], None]], source: Path, room: Path, rounds: int
) -> list[list[float]]:
    """Seconds of each function, round by round, after one that does not count."""
    for function in functions:
        timed(function, source, room)
    taken = [[timed(f, source, room) for f in functions] for _ in range(rounds)]
    return [list(column) for column in zip(*taken, strict=True)]


def compared(what: str, top: list[float], bottom: list[float], goal: str) -> Line:
    ratios = tuple(a / b for a, b in zip(top, bottom, strict=True))
    seconds = f"{statistics.median(top):.2f} / {statistics.median(bottom):.2f}"
    return Line(what, ratios, goal, seconds)


def native(room: Path, rounds: int) -> Iterator[Line]:
    source = write_ct(room / "native", SHAPE[0])
    mine, niix, reader, bare, d2n = interleaved(
        (ours, dcm2niix, monai, dicom2nifti_bare, dicom2nifti), source, room, rounds
    )
    yield compared("CT native: ours / dcm2niix -z n", mine, niix, "<= 1.5")
    yield compared("CT native: MONAI PydicomReader / ours", reader, mine, ">= 5")
    yield compared("CT native: dicom2nifti / ours", d2n, mine, ">= 4")
    yield compared("CT native: dicom2nifti, no gzip, no reorienting / ours", bare, mine, ">= 4")


def jpegls(room: Path, rounds: int) -> Iterator[Line]:
    source = write_ct(room / "jpegls", 60, jpegls=True)
    mine, written, bare, plain = interleaved(
        (ours, pydicom_written, decoded, pydicom), source, room, rounds
    )
    name = "CT JPEG-LS, 60 planes"
    yield compared(f"{name}, both decode: pydicom / ours", plain, bare, ">= 1.5")
    yield compared(f"{name}: pydicom + write / our whole stage", written, mine, ">= 1.5")


def two_processes(room: Path, rounds: int) -> Iterator[Line]:
    for kind, count in (("native", 16), ("JPEG-LS", 8)):
        source = room / f"many-{kind}"
        for number in range(count):
            write_ct(source / str(number), 100, series=str(number), jpegls=kind == "JPEG-LS")
        single, double = one_and_two(source, room, rounds)
        what = f"{count} CTs of 100 planes, {kind}: one process / two"
        yield compared(what, single, double, ">= 1.8")
        shutil.rmtree(source)


def one_and_two(source: Path, room: Path, rounds: int) -> list[list[float]]:
    """Seconds of one worker process and of two, each with one thread, started before."""
    from medsynth.ingest.workers import Processes

    with Processes(1) as one, Processes(2) as two:
        return interleaved(
            (lambda s, o: ours(s, o, one), lambda s, o: ours(s, o, two)), source, room, rounds
        )


def gzipped(room: Path, rounds: int) -> Iterator[Line]:
    """Readers alone, on the file that nibabel writes (level 1) and on gzip's own level."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(0, 12, (256, 256, 200)).cumsum(axis=2).astype(np.int16)
    for level, goal in ((1, ">= 3"), (6, "-")):
        source = room / f"gz{level}"
        source.mkdir()
        data = nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
        (source / "a.nii.gz").write_bytes(gzip.compress(data, level))
        own, plain, loaded = read_gzipped(source, room, rounds)
        what = f".nii.gz of 26 MB, level {level}, reading"
        yield compared(f"{what}: nibabel / ours", plain, own, goal)
        yield compared(f"{what}: MONAI LoadImage / ours", loaded, own, "-")


def read_gzipped(source: Path, room: Path, rounds: int) -> list[list[float]]:
    """Seconds of ours, nibabel and MONAI."""
    from medsynth.ingest.config import IngestConfig
    from medsynth.ingest.files.nifti import read_header, read_volumes
    from medsynth.ingest.source import walk

    def mine(source: Path, out: Path) -> None:
        (file,) = walk(source)
        header = read_header(file, IngestConfig())
        for _ in read_volumes(file, header, IngestConfig()):
            pass

    def nibabel(source: Path, out: Path) -> None:
        np.asarray(nib.load(source / "a.nii.gz").dataobj)

    def load_image(source: Path, out: Path) -> None:
        from monai.transforms import LoadImage

        LoadImage(image_only=True)(source / "a.nii.gz")

    return interleaved((mine, nibabel, load_image), source, room, rounds)


def write_many(folder: Path, count: int) -> Path:
    """Series of 250 small planes, each a file with elements of its own."""
    series = write_small(folder / "first")
    files = sorted(series.iterdir())
    template = files[0].read_bytes()
    uid = str(dcmread(files[0]).SOPInstanceUID).encode()
    for number in range(count):
        place = folder / f"{number // 250:04d}"
        place.mkdir(exist_ok=True)
        own = uid[:-12] + f"{number:012d}".encode()
        data = template.replace(uid, own).replace(
            b"1.2.3.1000000", f"1.2.3.{1000000 + number // 250}".encode()
        )
        (place / f"{number % 250:04d}").write_bytes(data)
    shutil.rmtree(series)
    return folder


def write_small(folder: Path) -> Path:
    write_ct(folder, 1, series="1000000")
    (path,) = folder.iterdir()
    dataset = dcmread(path)
    dataset.Rows = dataset.Columns = 16
    dataset.PixelData = bytes(512)
    dataset.save_as(path)
    return folder


def index_headers(folder: Path) -> tuple[int, float, int]:
    """(files, seconds of processor time, peak of memory in bytes) of finding every plane."""
    from medsynth.core.keys import DEMO_KEYS
    from medsynth.ingest.collect import Collection
    from medsynth.ingest.config import IngestConfig
    from medsynth.ingest.quarantine import Quarantine
    from medsynth.ingest.reading import Context
    from medsynth.ingest.source import walk
    from medsynth.ingest.workers import Here

    files = walk(folder)
    context = Context(DEMO_KEYS, IngestConfig())
    collection = Collection(context, Here(), lambda done, total: None, Quarantine(DEMO_KEYS))
    start = time.process_time()
    pieces = collection.find(files)
    taken = time.process_time() - start
    assert sum(len(piece.frames) for piece in pieces) == len(files)
    return len(files), taken, peak_bytes()


def peak_bytes() -> int:
    """The most memory that this process ever had; ru_maxrss counts its parent's too."""
    (line,) = (o for o in Path("/proc/self/status").read_text().splitlines() if "VmHWM:" in o)
    return int(line.split()[1]) << 10


def headers(room: Path, count: int) -> Iterator[str]:
    folder = write_many(room / "headers", count)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        number, seconds, peak = apart.submit(index_headers, folder).result()
    yield f"{number} headers: {number / seconds:.0f} a second per core (goal 1,500)"
    yield f"{number} instances indexed: peak {peak / 1e9:.2f} GB (goal below 1 GB)"


def machine() -> str:
    model = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    tools = ", ".join(
        f"{name} {version(name)}" for name in ("dcm2niix", "pydicom", "monai", "nibabel")
    )
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {model}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, {tools}, load average {load}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instances", type=int, default=50_000)
    parser.add_argument(
        "--only", nargs="*", default=["native", "jpegls", "two_processes", "gzipped", "headers"]
    )
    parser.add_argument("--room", type=Path, help="where files are written; default: /tmp")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    lines, facts = [], []
    with tempfile.TemporaryDirectory(dir=given.room) as name:
        for part in (native, jpegls, two_processes, gzipped):
            if part.__name__ in given.only:
                for line in part(Path(name), given.rounds):
                    print(" | ".join(line.cells), flush=True)
                    lines.append(line)
        if "headers" in given.only:
            for fact in headers(Path(name), given.instances):
                print(fact, flush=True)
                facts.append(fact)
    print(machine())
    if given.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(lines, facts, given.rounds, given.room))


def page(lines: Sequence[Line], facts: Sequence[str], rounds: int, room: Path | None) -> str:
    rows = "\n".join(f"| {' | '.join(line.cells)} |" for line in lines)
    told = "\n".join(f"- {fact}" for fact in facts)
    return (
        "# Speed of ingest\n\n"
        f"`python benchmarks/ingest_speed.py --write`; {machine()}.\n"
        f"Ratios are medians of {rounds} interleaved pairs, with quartiles. Ours is the whole "
        "stage with every check, digest and receipt, in one process with a thread per core; worker "
        "processes have one thread each. Files are warm and lie in "
        f"{'memory (tmpfs)' if str(room).startswith('/dev/shm') else 'a folder on disk'}.\n\n"
        "| what | ratio | quartiles | goal | seconds |\n|---|---|---|---|---|\n"
        f"{rows}\n\n{told}\n"
    )


if __name__ == "__main__":
    main()
