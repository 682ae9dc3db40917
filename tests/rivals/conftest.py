"""A ground of tiny images, bright where their attribute is high; a clock that steps move."""

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest

from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Scan, scan_of
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.rivals import autoregressive_training, gan_training, pace
from medsynth.rivals.config import AutoregressiveConfig, GanConfig, RivalsConfig
from medsynth.rivals.contestant import Ground
from medsynth.train.config import TrainConfig
from medsynth.train.fold import TrainingFold

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))


@pytest.fixture(scope="session")
def settings() -> TrainConfig:
    return TrainConfig(
        autoencoder_channels=(8, 8),
        latent_channels=2,
        num_codes=8,
        perceptual_steps=5,
        denoiser_channels=(16, 16),
        autoencoder_batch=4,
        denoiser_batch=4,
        validate_every=20,
        report_every=5,
        precision="fp32",
    )


@pytest.fixture(scope="session")
def tiny() -> RivalsConfig:
    return RivalsConfig(
        minutes=1.0,
        token_dim=16,
        gan=GanConfig(
            widths=(16, 16), noise_dim=4, style_dim=16, discriminator_widths=(16, 16),
            batch=8, learning_rate=3e-3,
        ),
        autoregressive=AutoregressiveConfig(
            width=16, depth=2, heads=2, batch=8, dropout=0.0, learning_rate=1e-2
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_ground() -> Callable[..., Ground]:
    def make(
        shape: tuple[int, int, int] = (9, 14, 1), schema: AttributeSchema = SCHEMA, num: int = 24
    ) -> Ground:
        rng, scans, volumes = np.random.default_rng(0), list[Scan](), []
        for index in range(num):
            brightness = 0.1 + 0.8 * index / num
            voxels = (brightness + 0.05 * rng.random(shape)).astype(np.float32)
            volume = Volume(voxels[None], Geometry(shape, np.eye(4)))
            known = {"age": 20.0 + index, "sex": "FM"[index % 2] if index % 3 else None}
            scans.append(
                scan_of(
                    volume,
                    digest="0" * 64,
                    scan_id=f"scan-{index:03d}",
                    subject_id=f"sub-{index:03d}",
                    modality="MR",
                    attributes={name: known[name] for name in schema.names},
                )
            )
            volumes.append(voxels)
        is_validation = np.arange(num) % 8 == 3
        return Ground.of(TrainingFold(tuple(scans), np.stack(volumes), is_validation, schema), 4)

    return make


@pytest.fixture
def a_second_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock takes a second: minutes are numbers of steps, whatever the machine."""
    seconds = count()
    for module in (pace, gan_training, autoregressive_training):
        monkeypatch.setattr(module, "clock", lambda: float(next(seconds)))
