"""The generator as the judge may attack it: its predictions, and its sampler.

What the network predicts, and with which sign, stays here: the judge gets noise and clean scans.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.checkpoint import Generator
from medsynth.core.protocols import Draw, Latents, Voxels
from medsynth.core.schema import Attributes, AttributeValue
from medsynth.core.text import words_of
from medsynth.models.conditioning import encode_attributes
from medsynth.models.guidance import Guidance
from medsynth.models.memory import decode, encode
from medsynth.models.synthesizer import SamplerConfig
from medsynth.models.text import MOST_WORDS
from medsynth.models.trained import split_words

ATTACK_SEEDS = 2**40
"""Seeds of an attack's draws start here, far from any cohort's."""
_BATCH = 64  # latents that the network sees at once

Tokens = Float[Tensor, "n tokens dim"]


@dataclass(frozen=True, eq=False)
class WhiteBox:
    """medsynth.core.protocols.Denoiser of a generator."""

    generator: Generator

    @torch.inference_mode()
    def encode(self, volumes: Voxels) -> Latents:
        """Scaled mean latents, as training cached them."""
        ours, images = (
            self.generator.synthesizer,
            self.generator.synthesizer.frame.to_tensor(volumes),
        )

        def encoded(rows: slice) -> np.ndarray:
            mean = encode(ours.autoencoder, images[rows].to(ours.device), ours.free_bytes)
            return ours.scale.apply(mean).float().cpu().numpy()

        return _in_chunks(encoded, len(volumes))

    @torch.inference_mode()
    def decode(self, latents: Latents) -> Voxels:
        """Volumes of scaled latents."""
        ours, z = self.generator.synthesizer, torch.from_numpy(latents)

        def decoded(rows: slice) -> np.ndarray:
            unscaled = ours.scale.undo(z[rows].to(ours.device))
            return ours.frame.to_volumes(decode(ours.autoencoder, unscaled, ours.free_bytes))

        return _in_chunks(decoded, len(latents))

    @torch.inference_mode()
    def condition(self, attributes: Sequence[Attributes] | None) -> Tokens:
        """A row of tokens for each scan, or the one row of nothing asked."""
        ours = self.generator.synthesizer
        known = [as_trained(self.generator, row, clip=False) for row in attributes or [{}]]
        batch = encode_attributes(ours.schema, ours.trained, known, texts=ours.texts)
        batch = batch.to(ours.device)
        tokens: Tokens = ours.encoder(batch.null() if attributes is None else batch)
        return tokens

    def path(self, t: float) -> tuple[float, float]:
        """Of the generator's own objective."""
        return self.generator.synthesizer.objective.schedule.at(t)

    @torch.inference_mode()
    def predict(self, z_t: Latents, t: float, condition: Tokens) -> tuple[Latents, Latents]:
        """(noise, clean) from what the network predicts."""
        ours = self.generator.synthesizer
        latents, tokens = torch.from_numpy(z_t), condition.expand(len(z_t), -1, -1)

        def both(rows: slice) -> np.ndarray:
            x = latents[rows].to(ours.device)
            times = torch.full((len(x),), t, device=ours.device)
            output = ours.denoiser(x, times, tokens[rows])
            clean, noise = ours.objective.clean_and_noise(x, output, times)
            return torch.stack([noise, clean], 1).float().cpu().numpy()

        predicted = _in_chunks(both, len(latents))
        return predicted[:, 0], predicted[:, 1]


def _in_chunks(function: Callable[[slice], np.ndarray], count: int) -> np.ndarray:
    starts = range(0, count, _BATCH)
    return np.concatenate([function(slice(start, start + _BATCH)) for start in starts])


def as_trained(generator: Generator, row: Attributes, *, clip: bool) -> Attributes:
    """A real scan's attributes in the generator's words.

    A word that training never saw is missing; with `clip` a number outside of the trained range,
    which the sampler refuses, is its nearer end.
    """
    return {
        attribute.name: _as_trained(generator, attribute.name, row.get(attribute.name), clip)
        for attribute in generator.schema
    }


def _as_trained(
    generator: Generator, name: str, value: AttributeValue, clip: bool
) -> AttributeValue:
    ours = generator.synthesizer
    attribute, seen = ours.schema[name], ours.trained[name]
    if value is None:
        return None
    if attribute.kind == "mask":
        return None  # what an attacker knows is a table
    if attribute.kind == "text":
        known = [word for word in words_of(str(value)) if word in seen.words]
        return " ".join(known[:MOST_WORDS]) or None
    if attribute.is_numeric:
        return min(max(float(value), seen.low), seen.high) if clip else float(value)
    words = [word for word in split_words(attribute, value) if word in seen.words]
    return "|".join(words) or None


def draw_for(generator: Generator) -> Draw:
    """The judge's way to draw whatever an attacker asks for, at any guidance."""

    def draw(requests: Sequence[Attributes], guidance: float, seed: int) -> Voxels:
        allowed = [as_trained(generator, request, clip=True) for request in requests]
        # A generator that leaps has its guidance within and takes no other.
        leaps = generator.synthesizer.denoiser.config.knows_spans
        how = SamplerConfig(guidance=Guidance() if leaps else Guidance(guidance))
        indices = range(len(requests))
        return generator.draw(allowed, indices, seed=ATTACK_SEEDS + seed, how=how)

    return draw
