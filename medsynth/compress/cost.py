"""What a generator costs: bytes, parameters, network passes and seconds a scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medsynth.checkpoint import Generator
from medsynth.core.schema import Attributes
from medsynth.evaluate.metrics import Metric
from medsynth.models.synthesizer import SamplerConfig
from medsynth.rivals.pace import clock


@dataclass(frozen=True)
class Cost:
    """Bytes of the weights on disk; passes are rows through the denoiser for each scan."""

    num_bytes: int
    num_parameters: int
    passes: float
    seconds_per_scan: float


@dataclass(frozen=True, eq=False)
class Drawer:
    """A generator with the settings it is drawn from; its checkpoint's folder."""

    generator: Generator
    how: SamplerConfig
    folder: Path

    def draw(self, requests: Sequence[Attributes], indices: Sequence[int], seed: int) -> np.ndarray:
        """One scan for each request."""
        return self.generator.draw(requests, indices, seed=seed, how=self.how)


def race(
    source: Drawer, candidate: Drawer, requests: Sequence[Attributes], rounds: int
) -> tuple[Cost, Cost, Metric]:
    """Costs of both, and how much faster the candidate is: ratio of medians, lowest and highest.

    They draw the same micro-batch by turns, so that a busy machine slows both. The spread is that
    of the single rounds' ratios; a first draw of each, which counts passes, is not timed.
    """
    passes = [_passes(drawer, requests) for drawer in (source, candidate)]
    seconds = np.array(
        [[_seconds(drawer, requests) for drawer in (source, candidate)] for _ in range(rounds)]
    )
    medians, ratios = np.median(seconds, axis=0), seconds[:, 0] / seconds[:, 1]
    ours, theirs = (
        _cost(drawer, count, float(each))
        for drawer, count, each in zip((source, candidate), passes, medians, strict=True)
    )
    low, high = float(ratios.min()), float(ratios.max())
    return ours, theirs, Metric(float(medians[0] / medians[1]), 1.0, low, high, rounds)


def _cost(drawer: Drawer, passes: float, seconds: float) -> Cost:
    ours = drawer.generator.synthesizer
    networks: tuple[nn.Module, ...] = (ours.autoencoder, ours.encoder, ours.denoiser)
    num_bytes = sum(path.stat().st_size for path in drawer.folder.glob("*.safetensors"))
    count = sum(p.numel() for network in networks for p in network.parameters())
    return Cost(num_bytes, count, passes, seconds)


def _seconds(drawer: Drawer, requests: Sequence[Attributes]) -> float:
    began = clock()
    drawer.draw(requests, range(len(requests)), 0)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - began) / len(requests)


def _passes(drawer: Drawer, requests: Sequence[Attributes]) -> float:
    rows: list[int] = []

    def count(network: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        rows.append(len(given[0]))

    handle = drawer.generator.synthesizer.denoiser.register_forward_pre_hook(count)
    try:
        drawer.draw(requests, range(len(requests)), 0)
    finally:
        handle.remove()
    return sum(rows) / (drawer.generator.batch * -(-len(requests) // drawer.generator.batch))
