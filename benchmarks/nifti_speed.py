"""Reading .nii.gz: ours with every check beside nibabel's plain read, on the same file in one run.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/nifti_speed.py FOLDER

writes a 512 x 512 x 200 int16 phantom CT into FOLDER, once as nibabel compresses it (level 1) and
once at gzip's own level (6), and prints seconds (best of several) and ratios as JSON.
"""

import gzip
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import isal_zlib

from medsynth.ingest.config import IngestConfig
from medsynth.ingest.files.nifti import read_header, read_volumes
from medsynth.ingest.source import InputFile

SHAPE = (512, 512, 200)
REPEATS = 5
_CHUNK = 1 << 16


def write_phantom(folder: Path) -> dict[str, Path]:
    """A noisy body on air, by name of its compression; what is already there is kept."""
    paths = {"level 1": folder / "ct1.nii.gz", "level 6": folder / "ct6.nii.gz"}
    if all(path.is_file() for path in paths.values()):
        return paths
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), indexing="ij")
    radius = (x * x + y * y)[..., None]
    body, air = rng.normal(40, 12, SHAPE), -1000 + rng.normal(0, 3, SHAPE) * (radius < 0.9)
    voxels = np.where(radius < 0.7, body, air).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-0.7, -0.7, 1.0, 1.0])), paths["level 1"])
    paths["level 6"].write_bytes(gzip.compress(gzip.decompress(paths["level 1"].read_bytes()), 6))
    return paths


def read_ours(path: Path) -> np.ndarray:
    """The volume as ingest reads it."""
    file, config = InputFile(path, path.name, path.stat().st_size, 0), IngestConfig()
    [found] = read_volumes(file, read_header(file, config), config)
    return found.volume.array[0]


def read_nibabel(path: Path) -> np.ndarray:
    """The array as nibabel gives it, unturned and unchecked."""
    return np.asanyarray(nib.load(path).dataobj)


def inflate_only(path: Path) -> None:
    """isal's inflate into nothing: the bound."""
    inflater = isal_zlib.decompressobj(31)
    with path.open("rb", buffering=0) as handle:
        waiting = handle.read(_CHUNK)
        while not inflater.eof and waiting:
            inflater.decompress(waiting, _CHUNK // 2)
            waiting = inflater.unconsumed_tail or handle.read(_CHUNK)


def compare(path: Path, repeats: int = REPEATS) -> dict[str, float]:
    """Seconds of each reader, best of several in turn, and ours as a ratio."""
    assert np.array_equal(read_ours(path), nib.as_closest_canonical(nib.load(path)).dataobj)
    readers: dict[str, Callable[[Path], object]] = {
        "medsynth": read_ours,
        "nibabel": read_nibabel,
        "inflate": inflate_only,
    }
    best = dict.fromkeys(readers, float("inf"))
    for _ in range(repeats):
        for name, reader in readers.items():
            start = time.perf_counter()
            reader(path)
            best[name] = min(best[name], time.perf_counter() - start)
    ratios = {
        "times_nibabel": best["nibabel"] / best["medsynth"],
        "share_of_inflate": best["inflate"] / best["medsynth"],
    }
    return {name: round(value, 3) for name, value in (best | ratios).items()}


if __name__ == "__main__":
    found = {name: compare(path) for name, path in write_phantom(Path(sys.argv[1])).items()}
    print(json.dumps(found, indent=1))
