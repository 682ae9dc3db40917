"""How long a trained judge needs for a cohort: screen, partition and tail tests.

    python benchmarks/judge_speed.py [--scans 1000] [--side 128] [--processes 2]

Phantoms as real people and as synthetic scans. The detector is trained beforehand; its time stands
on a line of its own. Queries are split over processes, as a cohort's shards would be.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from medsynth.ingest.phantom import draw_person, draw_phantom
from privacy.attacks.copying import copying
from privacy.attacks.copying_features import copying_features
from privacy.folds import Fold, RealFolds
from privacy.screen.decide import Scores, Screen
from privacy.self_test.run import members_and_controls

ALPHA = 0.05
SHARES = (0.55, 0.20, 0.25)  # of real scans in train, control and calibration


def phantoms(count: int, seed: int, side: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    people = [draw_person(rng) for _ in range(count)]
    drawn = [
        draw_phantom(rng, age=float(p.age), sex=p.sex, lesion=p.lesion, size=side) for p in people
    ]
    return np.stack(drawn)[..., None].astype(np.float32)


def cut(volumes: np.ndarray) -> RealFolds:
    ends = np.cumsum([round(share * len(volumes)) for share in SHARES[:2]])
    parts = np.split(np.arange(len(volumes)), ends)
    return RealFolds(*(Fold(volumes[part], part) for part in parts))


def untold(count: int) -> None:
    """Nothing is shown."""


def match(shard: np.ndarray) -> Scores:
    torch.set_num_threads(1)
    return SCREEN.match(shard, untold)


def joined(scores: list[Scores]) -> Scores:
    return Scores(
        np.concatenate([s.subjects for s in scores]),
        np.concatenate([s.values for s in scores]),
        np.concatenate([s.is_exact for s in scores]),
    )


def main() -> None:
    global SCREEN
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folds = cut(phantoms(asked.scans, 1, asked.side))
    cohort = phantoms(asked.scans, 2, asked.side)
    start = time.perf_counter()
    SCREEN = Screen.calibrate(folds, ALPHA, None, untold)
    print(f"trained and calibrated in {time.perf_counter() - start:.0f} s, one core", flush=True)
    start = time.perf_counter()
    shards = np.array_split(cohort, asked.processes)
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("fork")) as pool:
        scores = joined(list(pool.map(match, shards)))
    screened = time.perf_counter()
    members_and_controls(SCREEN, scores, folds, 0)
    parted = time.perf_counter()
    copying(*copying_features(cohort, folds.train, folds.control), 0)
    ended = time.perf_counter()
    print(f"{asked.scans} synthetic x {asked.scans} real, {asked.side} pixels: screen", end=" ")
    print(f"{screened - start:.0f} s, partition {parted - screened:.1f} s, tails", end=" ")
    print(f"{ended - parted:.0f} s, together {ended - start:.0f} s on {asked.processes} processes")


if __name__ == "__main__":
    main()
