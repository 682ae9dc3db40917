"""Small phantoms, folds and policies for the judge."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, store_scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce
from medsynth.ingest.phantom import draw_person, draw_phantom
from privacy.folds import Fold, RealFolds
from privacy.policy import Policy, read_policy
from privacy.screen import detector
from privacy.screen.decide import Screen

SIZE = 32
SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"),))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@contextmanager
def lessons(most: int, rounds: int) -> Iterator[None]:
    """Detectors that learn from less than they would of real scans."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "MOST_DISGUISED", most)
        patch.setattr(detector, "ROUNDS", rounds)
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_lessons() -> Iterator[None]:
    with lessons(50, 1):
        yield


def _draw(count: int, seed: int, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    people = [draw_person(rng) for _ in range(count)]
    drawn = [
        draw_phantom(rng, age=float(p.age), sex=p.sex, lesion=p.lesion, size=size) for p in people
    ]
    return np.stack(drawn)[..., None].astype(np.float32)


def _soften(volumes: np.ndarray) -> np.ndarray:
    """What a small autoencoder does to a scan."""
    return gaussian_filter(volumes, (0, 0.5, 0.5, 0)).astype(np.float32)


def make_folds(volumes: np.ndarray, counts: tuple[int, ...]) -> RealFolds:
    ends = np.cumsum(counts)
    numbers = np.arange(len(volumes))
    cut = [Fold(volumes[e - c : e], numbers[e - c : e]) for c, e in zip(counts, ends, strict=True)]
    return RealFolds(*cut)


@pytest.fixture(scope="session")
def phantoms() -> Callable[..., np.ndarray]:
    """Draws phantoms (n, i, j, 1)."""
    return _draw


@pytest.fixture(scope="session")
def soften() -> Callable[[np.ndarray], np.ndarray]:
    """A stand-in for a round trip."""
    return _soften


@pytest.fixture(scope="session")
def folds() -> RealFolds:
    return make_folds(_draw(270, seed=1), (110, 80, 80))


@pytest.fixture(scope="session")
def screen(folds: RealFolds) -> Screen:
    with lessons(190, 2):
        return Screen.calibrate(folds, 0.05, _soften, lambda count: None)


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The demo's limits at a size for tests."""
    terms = read_policy("demo").model_dump()
    terms["name"] = "test"
    kinds = ("exact", "noise_05", "rotation_7", "invert", "round_trip")
    terms["alpha"] = 0.15
    terms["screen_power"] |= {"num_planted": 8, "low_at_least": 0.6, "must_catch": kinds}
    terms["rejection_rate"] |= {"min_synthetic": 30, "high_at_most": 0.45}
    terms["partition"] |= {"excess_at_most": 0.15, "min_controls": 40}
    return Policy.model_validate(terms)


@pytest.fixture(scope="session")
def store() -> Callable[..., Artifact]:
    """Writes scans as a stage folder."""

    def write(
        out: Path, stage: str, volumes: np.ndarray, folds: list[str] | None = None
    ) -> Artifact:
        def build(folder: Path) -> None:
            scans = [
                store_scan(
                    folder,
                    Volume(volume[None], Geometry(volume.shape, np.diag([3.0, 3, 5, 1]))),
                    scan_id=f"{stage}-scan-{n:06d}",
                    subject_id=f"{stage}-subject-{n:06d}",
                    modality="MR",
                    attributes={"age": float(20 + n % 60)},
                    fold=None if folds is None else folds[n],
                )
                for n, volume in enumerate(volumes)
            ]
            Manifest(tuple(scans), SCHEMA).write(folder)

        config = {"sum": float(volumes.astype(np.float64).sum())}
        return produce(out, Request(stage, {}, config, "test"), build)

    return write
