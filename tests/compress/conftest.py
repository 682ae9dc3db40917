"""A teacher with random weights, and requests."""

import numpy as np
import pytest
import torch

from medsynth.checkpoint import Generator
from medsynth.core.geometry import Geometry
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.cells import count_cells
from medsynth.models.conditioning import ConditionEncoder
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.frame import Frame
from medsynth.models.synthesizer import LatentScale, Synthesizer
from medsynth.models.trained import learn_attributes

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))
ROWS = [{"age": 40.0 + n % 40, "sex": "FM"[n % 2]} for n in range(120)]


@pytest.fixture(scope="session")
def requests():
    return ROWS[10:50]


@pytest.fixture(scope="session")
def teacher():
    torch.manual_seed(0)
    trained = learn_attributes(SCHEMA, ROWS)
    denoiser = Denoiser(DenoiserConfig(2, 2, 2, channels=(16, 32), token_dim=16, norm_groups=8))
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
    return Generator(
        synthesizer, geometry, "MR", count_cells(SCHEMA, ROWS, [*map(str, range(120))])
    )
