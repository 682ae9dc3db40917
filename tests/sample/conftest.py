"""A checkpoint stage with random weights: sampling does not care what was learned."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medsynth.checkpoint import Generator, save_generator
from medsynth.core.geometry import Geometry
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.core.stage import Artifact, Request, produce
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.cells import count_cells
from medsynth.models.conditioning import ConditionEncoder
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.frame import Frame
from medsynth.models.synthesizer import LatentScale, Synthesizer
from medsynth.models.trained import learn_attributes

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))


@pytest.fixture
def rows() -> list[dict[str, float | str | None]]:
    """Forty ages, two sexes, a third without a sex, and one of a rare third value."""
    sexes = ["F", "M", None]
    rows = [{"age": 40.0 + i % 40, "sex": sexes[i % 3]} for i in range(240)]
    return [*rows, {"age": 50.0, "sex": "X"}]


@pytest.fixture
def checkpoint(tmp_path: Path, rows: list[dict[str, float | str | None]]) -> Artifact:
    torch.manual_seed(0)
    trained = learn_attributes(SCHEMA, rows)
    denoiser = Denoiser(DenoiserConfig(2, 2, 2, channels=(16, 16), token_dim=16, norm_groups=8))
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    synthesizer = Synthesizer(
        Autoencoder(AutoencoderConfig(2, (8, 8), latent_channels=2)),
        ConditionEncoder(SCHEMA, trained, 16),
        denoiser,
        LatentScale(np.zeros(2), np.ones(2)),
        Frame((12, 10, 1), 8),
        SCHEMA,
        trained,
    )
    geometry = Geometry((12, 10, 1), np.diag([2.0, 2, 5, 1]))
    cells = count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(len(rows))])
    generator = Generator(synthesizer, geometry, "MR", cells)
    return produce(
        tmp_path / "trained",
        Request("checkpoint", {}, {}, "test"),
        lambda folder: save_generator(folder, generator, prepared_digest="0" * 64),
    )
