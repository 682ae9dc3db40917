"""B4: an epoch of shuffled batches of latents, ours beside three peers' layouts.

    OMP_NUM_THREADS=1 python -m benchmarks.latent_epoch [--rounds 5] [--quick] [--write]

Ours is one fp16 array, held in memory or mapped from the disk. MAISI keeps one fp32 .nii.gz per
scan and reads it by LoadImaged every time; MONAI's PersistentDataset keeps tensors on the disk, its
CacheDataset in memory. All files lie in the page cache; no worker processes.
"""

import ctypes
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, PersistentDataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from benchmarks.comparison import Gate, Result, arguments, interleaved, tell
from benchmarks.roofline import Machine
from medsynth.models.synthesizer import LatentScale
from medsynth.train.latent_rows import LatentRows
from medsynth.train.order import batch_rows

CHANNELS = 4
CPU = torch.device("cpu")
SCALE = LatentScale(np.zeros(CHANNELS), np.full(CHANNELS, 2.0))
FP16 = 2.0**-10
"""Largest relative error of a number rounded to fp16."""


class Cohort:
    """The same latents as our array and as MAISI's files."""

    def __init__(self, room: Path, count: int, sides: tuple[int, ...]) -> None:
        self.count, self.sides, self.room = count, sides, room
        latents = np.random.default_rng(0).normal(0, 2, (count, CHANNELS, *sides))
        np.save(room / "latents.npy", latents.astype(np.float16))
        self.files = [{"image": str(room / f"{number}.nii.gz")} for number in range(count)]
        for file, one in zip(self.files, latents.astype(np.float32), strict=True):
            nib.save(nib.Nifti1Image(np.moveaxis(one, 0, -1), np.eye(4)), file["image"])

    @property
    def mapped(self) -> np.ndarray:
        return np.load(self.room / "latents.npy", mmap_mode="r")

    @property
    def num_bytes(self) -> int:
        """Of an epoch: fp16 read and fp32 written."""
        return 6 * self.count * CHANNELS * int(np.prod(self.sides))


def load() -> Compose:
    keys = ["image"]
    return Compose([LoadImaged(keys), EnsureChannelFirstd(keys, channel_dim=-1)])


def epoch_of(latents: LatentRows, batch: int) -> Callable[[], torch.Tensor]:
    def epoch() -> torch.Tensor:
        for step in range(len(latents) // batch):
            found = latents.take(batch_rows(len(latents), batch, 0, step))
        return found

    return epoch


def peer_of(dataset: torch.utils.data.Dataset, batch: int) -> Callable[[], torch.Tensor]:
    loader = DataLoader(dataset, batch_size=batch, shuffle=True, num_workers=0)

    def epoch() -> torch.Tensor:
        for found in loader:
            scaled = found["image"] / 2.0
        return scaled

    return epoch


def own_bytes() -> int:
    """Memory of this process that is no file's, once the allocator gave back what is free."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) << 10


def worst_error(latents: LatentRows, files: list[dict[str, str]]) -> float:
    """Of our values against the files', as a share of the largest."""
    worst, read = 0.0, load()
    for row, file in enumerate(files[:8]):
        theirs = torch.as_tensor(np.asarray(read(file)["image"])) / 2
        gap = (latents.take(torch.tensor([row]))[0] - theirs).abs().max() / theirs.abs().max()
        worst = max(worst, float(gap))
    return worst


def compare(
    room: Path, count: int, sides: tuple[int, ...], batch: int, rounds: int, machine: Machine
) -> Iterator[Result]:
    cohort = Cohort(room, count, sides)
    before = own_bytes()
    cached = CacheDataset(cohort.files, load(), progress=False)
    theirs = own_bytes() - before
    before = own_bytes()
    mapped = LatentRows(cohort.mapped, None, SCALE, CPU)
    kept = epoch_of(mapped, batch)()
    memory = Gate("memory, a share of CacheDataset's", (own_bytes() - before) / theirs, 0.1)
    del kept
    held = LatentRows.of(cohort.mapped, SCALE, CPU)
    (room / "persistent").mkdir()
    peers = (
        CacheDataset(cohort.files, load(), cache_rate=0, progress=False),
        PersistentDataset(cohort.files, load(), cache_dir=room / "persistent"),
        cached,
    )
    ours = (epoch_of(held, batch), epoch_of(mapped, batch))
    seconds = interleaved(rounds, *ours, *(peer_of(peer, batch) for peer in peers))
    equal = Gate("error", worst_error(mapped, cohort.files), FP16)
    limit, shape = machine.limit(0, torch.float32, cohort.num_bytes), "x".join(map(str, sides))
    large = (memory,) if cohort.num_bytes > 2**26 else ()
    for name, own, gates in (("held", 0, (equal,)), ("mapped", 1, (equal, *large))):
        for peer, goal, column in (("MAISI's", 100, 2), ("PersistentDataset", 5, 3)):
            what = f"{count} of {CHANNELS}x{shape}, batch {batch}, {name}: {peer}"
            yield Result(what, seconds[column], seconds[own], goal, limit, (equal,))
        what = f"{count} of {CHANNELS}x{shape}, batch {batch}, {name}: CacheDataset"
        yield Result(what, seconds[4], seconds[own], 1, limit, gates)


def main() -> None:
    given = arguments(__doc__, rounds=5).parse_args()
    warnings.simplefilter("ignore")
    machine = Machine.measure(CPU)
    cases = [(512, (16, 16), 32), (32, (64, 64, 64), 2)]
    if given.quick:
        cases = [(16, (8, 8), 4), (4, (16, 16, 16), 2)]
    results: list[Result] = []
    for case in cases:
        with TemporaryDirectory() as name:
            results += compare(Path(name), *case, given.rounds, machine)
    tell("B4, an epoch of latents", results, machine, (), given.write)


if __name__ == "__main__":
    main()
