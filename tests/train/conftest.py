"""Prepared stages of a few tiny blobs whose brightness is their attribute."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import FOLDS, Manifest, store_scan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce
from medsynth.train.config import TrainConfig

TINY = TrainConfig(
    autoencoder_channels=(8, 8),
    latent_channels=2,
    autoencoder_steps=12,
    autoencoder_batch=4,
    perceptual_weight=0.0,
    perceptual_steps=4,
    adversarial_weight=0.0,
    denoiser_channels=(16, 16),
    denoiser_steps=12,
    denoiser_batch=4,
    validate_every=4,
    save_every=4,
    report_every=2,
    num_snapshots=4,
)
SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))


def write_prepared(
    out: Path,
    *,
    shape: tuple[int, int, int] = (16, 12, 1),
    schema: AttributeSchema = SCHEMA,
    num_train: int = 24,
    seed_of_others: int = 0,
) -> Artifact:
    def build(folder: Path) -> None:
        scans = []
        for index in range(num_train + 8):
            fold = "train" if index < num_train else FOLDS[1 + index % 3]
            rng = np.random.default_rng([0 if fold == "train" else seed_of_others, index])
            known = {"age": 20.0 + index, "sex": "FM"[index % 2] if index % 3 else None}
            voxels = np.full((1, *shape), 0.01 * index + 0.2, np.float32)
            voxels += 0.1 * rng.random(voxels.shape, np.float32)
            scan = store_scan(
                folder,
                Volume(voxels, Geometry(shape, np.diag([2.0, 3, 4, 1]))),
                scan_id=f"scan-{index:03d}",
                subject_id=f"sub-{index:03d}",
                modality="MR",
                attributes={name: known[name] for name in schema.names},
                fold=fold,
            )
            scans.append(scan)
        Manifest(tuple(scans), schema).write(folder)

    return produce(out, Request("prepared", {}, {"seed": seed_of_others}, "test"), build)


@pytest.fixture
def tiny() -> TrainConfig:
    return TINY


@pytest.fixture
def prepared() -> Callable[..., Artifact]:
    return write_prepared
