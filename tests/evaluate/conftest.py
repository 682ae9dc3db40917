"""Phantoms as stage folders: real ones in folds, and a cohort of fresh ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from medsynth.checkpoint import Generator, save_generator
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.schema import Attribute, Attributes, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce
from medsynth.evaluate.comparison import Fold
from medsynth.evaluate.readers import ReaderConfig, Readers, train_readers
from medsynth.ingest.phantom import draw_person, draw_phantom
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.cells import count_cells
from medsynth.models.conditioning import ConditionEncoder
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.frame import Frame
from medsynth.models.synthesizer import LatentScale, Synthesizer
from medsynth.models.trained import learn_attributes

SIZE = 32
SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years", 20.0, 89.0),
        Attribute("sex", "category", values=("F", "M")),
        Attribute("lesion", "category", values=("no", "yes")),
    )
)


@dataclass(frozen=True)
class Phantoms:
    """Voxels (n, size, size, 1) with what was asked for."""

    images: np.ndarray
    attributes: tuple[Attributes, ...]


def draw(seed: int, count: int) -> Phantoms:
    rng = np.random.default_rng(seed)
    people = [draw_person(rng) for _ in range(count)]
    planes = [
        draw_phantom(rng, age=float(p.age), sex=p.sex, lesion=p.lesion, size=SIZE)[::-1, ::-1].T
        for p in people
    ]
    rows: list[Attributes] = [
        {"age": float(p.age), "sex": p.sex, "lesion": "yes" if p.lesion else "no"} for p in people
    ]
    return Phantoms(np.stack(planes)[..., None].astype(np.float32), tuple(rows))


def scans_of(phantoms: Phantoms, prefix: str, fold: str | None = None) -> tuple[Scan, ...]:
    return tuple(
        Scan(f"{prefix}-{i}", f"{prefix}-sub-{i}", "", "00", "MR", (SIZE, SIZE, 1),
             tuple(np.eye(4).ravel()), "float32", fold, attributes=row)
        for i, row in enumerate(phantoms.attributes)
    )  # fmt: skip


def fold_of(phantoms: Phantoms, prefix: str) -> Fold:
    return Fold(scans_of(phantoms, prefix), phantoms.images)


def store(folder: Path, phantoms: Phantoms, prefix: str, fold: str | None) -> list[Scan]:
    geometry = Geometry((SIZE, SIZE, 1), np.diag([4.0, 4.0, 5.0, 1.0]))
    return [
        store_scan(
            folder,
            Volume(image[None], geometry),
            scan_id=f"{prefix}-{i:04d}",
            subject_id=f"{prefix}-sub-{i:04d}",
            modality="MR",
            attributes=row,
            fold=fold,
        )
        for i, (image, row) in enumerate(zip(phantoms.images, phantoms.attributes, strict=True))
    ]


def stage_of(
    out: Path,
    stage: str,
    build_scans: Callable[[Path], list[Scan]],
    schema: AttributeSchema = SCHEMA,
) -> Artifact:
    def build(folder: Path) -> None:
        Manifest(tuple(build_scans(folder)), schema).write(folder)

    return produce(out, Request(stage, {}, {}, "test"), build)


@pytest.fixture(scope="session")
def schema() -> AttributeSchema:
    return SCHEMA


@pytest.fixture(scope="session")
def as_fold() -> Callable[[Phantoms, str], Fold]:
    """Scans and voxels in memory."""
    return fold_of


@pytest.fixture(scope="session")
def trained(train_phantoms: Phantoms) -> Readers:
    """Readers of the training phantoms."""
    config = ReaderConfig(num_steps=140)
    scans = scans_of(train_phantoms, "t")
    images = train_phantoms.images
    return train_readers(images, scans, SCHEMA, config, seed=0, on_step=lambda step: None)


@pytest.fixture(scope="session")
def prepared(
    train_phantoms: Phantoms, control_phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    out = tmp_path_factory.mktemp("real")
    return stage_of(
        out,
        "prepared",
        lambda folder: (
            store(folder, train_phantoms, "t", "train")
            + store(folder, control_phantoms, "c", "control")
        ),
    )


@pytest.fixture(scope="session")
def accepted(cohort_phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("synthetic")
    return stage_of(out, "accepted", lambda folder: store(folder, cohort_phantoms, "syn", None))


@pytest.fixture(scope="session")
def checkpoint(train_phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A generator that has learned nothing."""
    torch.manual_seed(0)
    rows = train_phantoms.attributes
    trained = learn_attributes(SCHEMA, rows)
    synthesizer = Synthesizer(
        Autoencoder(AutoencoderConfig(2, (8, 8), latent_channels=2)),
        ConditionEncoder(SCHEMA, trained, 16),
        Denoiser(DenoiserConfig(2, 2, 3, channels=(16, 16), token_dim=16, norm_groups=8)),
        LatentScale(np.zeros(2), np.ones(2)),
        Frame((SIZE, SIZE, 1), 8),
        SCHEMA,
        trained,
    )
    geometry = Geometry((SIZE, SIZE, 1), np.diag([4.0, 4.0, 5.0, 1.0]))
    cells = count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(len(rows))])
    return produce(
        tmp_path_factory.mktemp("trained"),
        Request("checkpoint", {}, {}, "test"),
        lambda folder: save_generator(
            folder, Generator(synthesizer, geometry, "MR", cells), prepared_digest="0" * 64
        ),
    )


@pytest.fixture(scope="session")
def train_phantoms() -> Phantoms:
    """A training fold; a third of the ages is missing."""
    drawn = draw(1, 240)
    rows = tuple(
        {**row, "age": None if i % 3 == 0 else row["age"]} for i, row in enumerate(drawn.attributes)
    )
    return Phantoms(drawn.images, rows)


@pytest.fixture(scope="session")
def control_phantoms() -> Phantoms:
    return draw(2, 80)


@pytest.fixture(scope="session")
def cohort_phantoms() -> Phantoms:
    return draw(3, 100)
