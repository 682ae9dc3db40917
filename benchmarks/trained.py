"""A trained generator with real scans that it never saw, as samplers are given them."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.comparison import arguments
from medsynth.checkpoint import Generator, load_generator
from medsynth.core.manifest import Manifest, load_arrays
from medsynth.models.conditioning import encode_attributes


@dataclass(frozen=True, eq=False)
class Trained:
    """A generator, the scans of fold control, and their attributes as conditions."""

    generator: Generator
    volumes: np.ndarray
    conditions: Tensor
    null: Tensor

    @classmethod
    def read(cls, checkpoint: Path, prepared: Path) -> "Trained":
        """From the stage folders of a training and of what it was trained on."""
        generator = load_generator(checkpoint)
        ours, control = generator.synthesizer, Manifest.read(prepared).fold("control")
        rows = [scan.attributes for scan in control]
        batch = encode_attributes(ours.schema, ours.trained, rows, texts=ours.texts)
        batch = batch.to(ours.device)
        with torch.inference_mode():
            asked, null = ours.encoder(batch), ours.encoder(batch.take(torch.tensor([0])).null())
        volumes = load_arrays(prepared, control).astype(np.float32)
        return cls(generator, volumes, asked.clone(), null.clone())

    def condition(self, first: int, count: int) -> Tensor:
        """Of so many scans from the first on, round and round."""
        return self.conditions[(torch.arange(count) + first) % len(self.conditions)]

    def noise(self, seed: int, count: int) -> Tensor:
        """Starting noise of so many scans."""
        ours = self.generator.synthesizer
        drawn = np.stack([ours.noise(seed, index) for index in range(count)])
        return torch.from_numpy(drawn).to(ours.device)


def trained_arguments(doc: str | None, *, rounds: int = 7) -> argparse.ArgumentParser:
    """What a benchmark of a trained generator is asked."""
    parser = arguments(doc, rounds=rounds)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("prepared", type=Path)
    return parser
