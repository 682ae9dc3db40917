"""The screen's recall per planted kind on real scans, beside three plain nearest neighbors.

    python -P benchmarks/screen.py brains --shared ../shared --side 64 --fold-seed 11 --planted 100

Every method gets the same folds, the same copies, and a threshold by the same rule: the k-th
largest score of a calibration subject against train and control. What copies are mixed with comes
from the test fold, which nobody's index holds. Only counts are printed.
(-P keeps this file from hiding the packages of its name.)
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from PIL import Image
from scipy import stats
from scipy.ndimage import zoom
from torch.nn import functional as F

from privacy.attacks.consistency import consistency
from privacy.folds import Fold, RealFolds
from privacy.people import find_people
from privacy.planted import HARD, KINDS, plant
from privacy.screen.decide import Screen

SETS = {
    "brains": "cohort2d/soop_brain_128",
    "chests": "cohort2d/nih_cxr_128",
    "hippocampi": "cohort3d/hippocampus",
}
ALPHA = 0.05
SHARES = (0.45, 0.15, 0.35)
"""Of subjects in train, control and calibration; the rest is test. With fewer in calibration the
threshold on chests would be the single most look-alike person."""
DEFAULT_KINDS = (
    "exact", "noise_05", "noise_10", "noise_15", "flip", "rotation_7", "rotation_20",
    "rotation_90", "shift", "crop_85", "elastic_1", "gamma", "gamma_2", "window", "invert",
    "bias_field", "blur", "jpeg_30", "downsample", "blend_70", "flip_rotation_noise",
    "crop_gamma_jpeg", "shift_window_blur", "crop_70", "elastic_2", "blend_50", "half", "quadrant",
)  # fmt: skip

Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(queries, references) to the largest score of each query."""


def load(name: str, shared: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Scans in [0, 1] and the number of each one's subject."""
    folder = shared / "data" / SETS[name]
    with (folder / "metadata.csv").open() as table:
        rows = list(csv.DictReader(table))
    read = _volume if name == "hippocampi" else _slice
    scans = np.stack([read(folder / row["image"], side) for row in rows])
    key = "subject_id" if name == "hippocampi" else "patient_id"
    return scans, np.unique([row[key] for row in rows], return_inverse=True)[1]


def _slice(path: Path, side: int) -> np.ndarray:
    gray = Image.open(path).convert("L").resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(gray, np.float32).T[..., None] / 255


def _volume(path: Path, side: int) -> np.ndarray:
    voxels = np.asarray(nibabel.load(path).dataobj, np.float32)  # type: ignore[attr-defined]
    low, high = np.quantile(voxels, [0.005, 0.995])
    gray = np.clip((voxels - low) / (high - low), 0, 1)
    return zoom(gray, np.array((32, 48, 32)) / gray.shape, order=1).astype(np.float32)


def cleaned(scans: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """False for hubs, damaged scans, and the second of two people who may be one.

    By the project's own search, as before every fold; here nobody reviews its list.
    """
    found = find_people(scans, owners, print_no)
    again = [owners[pair.other] for pair in found.pairs]
    gone = np.isin(owners, again)
    gone[[*found.hubs, *found.damaged]] = True
    return ~gone


def cut(scans: np.ndarray, owners: np.ndarray, seed: int) -> tuple[RealFolds, np.ndarray]:
    """Folds of subjects at the default shares, and the scans of the test fold."""
    people = np.random.default_rng(seed).permutation(np.unique(owners))
    ends = np.cumsum([round(share * len(people)) for share in SHARES])
    rows = [np.isin(owners, part) for part in np.split(people, ends)]
    folds = [Fold(scans[row], owners[row]) for row in rows[:3]]
    return RealFolds(*folds), scans[rows[3]]


def plants(folds: RealFolds, others: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, ...]:
    """One scan each of train subjects, and what to mix it with."""
    rng, train = np.random.default_rng(seed), folds.train
    picked = rng.permutation(np.unique(train.subjects))[:count]
    rows = [rng.choice(np.flatnonzero(train.subjects == owner)) for owner in picked]
    return train.volumes[rows], others[rng.integers(len(others), size=len(rows))]


@dataclass(frozen=True, eq=False)
class Plain:
    """Nearest neighbor by one plain score, its threshold set like the screen's."""

    score: Scores
    references: np.ndarray
    threshold: float

    @classmethod
    def calibrate(cls, score: Scores, folds: RealFolds, rank: int) -> "Plain":
        known = np.concatenate([folds.train.volumes, folds.control.volumes])
        top, owners = score(folds.calibration.volumes, known), folds.calibration.subjects
        null = np.sort([top[owners == owner].max() for owner in np.unique(owners)])
        everyone = np.concatenate([known, folds.calibration.volumes])
        return cls(score, everyone, float(null[-max(rank, 1)]))

    def rejects(self, queries: np.ndarray) -> np.ndarray:
        return self.score(queries, self.references) > self.threshold


def by_distance(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Negative pixel L2."""
    return -_nearest(_flat(queries), _flat(references))


def by_correlation(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Pearson's correlation of pixels."""
    return 1 - _nearest(_standard(queries), _standard(references)) ** 2 / 2


def by_similarity(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """SSIM (Wang et al., 2004) of the middle slice at 64 pixels, in 8 x 8 windows."""
    known = _middle(references)
    return np.array([float(_ssim(query[None], known).max()) for query in _middle(queries)])


def _middle(scans: np.ndarray) -> torch.Tensor:
    images = torch.from_numpy(np.ascontiguousarray(scans[..., scans.shape[3] // 2]))[:, None]
    return F.avg_pool2d(images, max(images.shape[-1] // 64, 1))


def _ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    mean_a, mean_b = _pool(a), _pool(b)
    both = _pool(a * b) - mean_a * mean_b
    spread = _pool(a * a) - mean_a**2 + _pool(b * b) - mean_b**2
    light = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    return (light * (2 * both + 9e-4) / (spread + 9e-4)).mean((1, 2, 3))


def _pool(images: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(images, 8, 4)


def _flat(scans: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(scans.reshape(len(scans), -1).copy())


def _standard(scans: np.ndarray) -> torch.Tensor:
    flat = _flat(scans)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _nearest(queries: torch.Tensor, references: torch.Tensor) -> np.ndarray:
    return torch.cdist(queries, references).min(1).values.numpy().astype(np.float64)


def lower(found: int, planted: int) -> float:
    """One-sided 95 % lower bound of Clopper and Pearson."""
    return float(stats.beta.ppf(0.05, found, planted - found + 1)) if found else 0.0


def measure(asked: argparse.Namespace) -> Iterator[str]:
    scans, owners = load(asked.set, asked.shared, asked.side)
    kept = cleaned(scans, owners)
    folds, test = cut(scans[kept], owners[kept], asked.fold_seed)
    start = time.perf_counter()
    screen = Screen.calibrate(folds, ALPHA, None, lambda count: None, seed=asked.seed)
    yield (
        f"{asked.set} {scans.shape[1:]} fold seed {asked.fold_seed}: "
        f"{len(np.unique(owners)) - len(np.unique(owners[kept]))} ids left out before folds; "
        f"train {folds.train.num_subjects}, control {folds.control.num_subjects}, calibration "
        f"{folds.calibration.num_subjects} subjects, k = {screen.rank}; calibrated in "
        f"{time.perf_counter() - start:.0f} s"
    )
    plain = [
        Plain.calibrate(score, folds, screen.rank)
        for score in (by_distance, by_similarity, by_correlation)
    ]
    judges = [lambda q: screen.rejects(screen.match(q, lambda count: None))]
    judges += [rival.rejects for rival in plain]
    yield "| kind | screen | lower bound | pixel L2 | SSIM | correlation |"
    yield "| --- | --- | --- | --- | --- | --- |"
    yield _row("fresh scans flagged", [judge(test) for judge in judges])
    own, others = plants(folds, test, asked.planted, asked.fold_seed)
    for kind in asked.kinds or DEFAULT_KINDS:
        copies = plant(kind, own, others, seed=asked.fold_seed)
        yield _row(kind + (" (hard)" if kind in HARD else ""), [judge(copies) for judge in judges])
    yield f"{time.perf_counter() - start:.0f} s in all"


def agree(asked: argparse.Namespace) -> Iterator[str]:
    """Detectors of other seeds, on the same ten copies of each kind and the same fresh scans."""
    scans, owners = load(asked.set, asked.shared, asked.side)
    kept = cleaned(scans, owners)
    folds, test = cut(scans[kept], owners[kept], asked.fold_seed)
    own, others = plants(folds, test, 10, asked.fold_seed)
    kinds = asked.kinds or DEFAULT_KINDS
    copies = [plant(kind, own, others, seed=asked.fold_seed) for kind in kinds]
    queries = np.concatenate([*copies, test])
    flags = []
    for seed in range(asked.seeds):
        screen = Screen.calibrate(folds, ALPHA, None, lambda count: None, seed=seed)
        null = screen.null > screen.threshold
        flags.append(np.concatenate([screen.rejects(screen.match(queries, print_no)), null]))
        yield f"seed {seed}: {int(flags[-1].sum())} of {len(flags[-1])} flagged"
    yield f"{consistency(np.stack(flags))}"


def print_no(count: int) -> None:
    """Nothing to tell."""


def _row(name: str, flags: list[np.ndarray]) -> str:
    ours, *rest = [int(flag.sum()) for flag in flags]
    n = len(flags[0])
    shares = " | ".join(f"{count / n:.2f}" for count in rest)
    return f"| {name} | {ours}/{n} | {lower(ours, n):.3f} | {shares} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--fold-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the detector")
    parser.add_argument("--planted", type=int, default=100)
    parser.add_argument("--kinds", nargs="*", choices=[*KINDS])
    parser.add_argument("--seeds", type=int, default=0, help="how many detectors must agree")
    torch.set_num_threads(1)
    asked = parser.parse_args()
    for line in agree(asked) if asked.seeds else measure(asked):
        print(line, flush=True)


if __name__ == "__main__":
    main()
