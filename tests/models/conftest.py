"""A generator of a few thousand weights, untrained but not silent."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.conditioning import ConditionEncoder
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.frame import Frame
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import LatentScale, Synthesizer
from medsynth.models.trained import learn_attributes

SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years"),
        Attribute("sex", "category"),
        Attribute("finding", "labels"),
    )
)
FLOW = Objective()
ROWS = [
    {"age": 20.0 + i, "sex": "FM"[i % 2] if i % 5 else None, "finding": ["A", "A|B"][i % 2]}
    for i in range(50)
]


@pytest.fixture
def make_synthesizer() -> Callable[..., Synthesizer]:
    def make(
        shape: tuple[int, int, int] = (20, 12, 1),
        schema: AttributeSchema = SCHEMA,
        objective: Objective = FLOW,
    ) -> Synthesizer:
        torch.manual_seed(0)
        dims = 2 if shape[2] == 1 else 3
        trained = learn_attributes(schema, ROWS)
        encoder = ConditionEncoder(schema, trained, 16)
        config = DenoiserConfig(
            dims, 2, encoder.num_tokens, channels=(16, 16), token_dim=16, norm_groups=8
        )
        denoiser = Denoiser(config)
        for parameter in denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        autoencoder = Autoencoder(AutoencoderConfig(dims, (8, 8), latent_channels=2))
        scale = LatentScale(np.zeros(2), np.ones(2))
        frame = Frame(shape, 8)
        return Synthesizer(autoencoder, encoder, denoiser, scale, frame, schema, trained, objective)

    return make
