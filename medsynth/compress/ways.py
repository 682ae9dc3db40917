"""The ways that a trained generator takes from noise to images: what its students learn from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.checkpoint import Generator
from medsynth.core.schema import Attributes
from medsynth.models.conditioning import encode_attributes
from medsynth.models.synthesizer import SamplerConfig, Synthesizer

WAY_SEEDS = 2**41
"""Seeds of ways start here, far from those of any cohort."""


@dataclass(frozen=True, eq=False)
class Ways:
    """Scaled latents at each point of a grid of times, and the condition that led there."""

    times: Float[np.ndarray, " points"]
    points: Float[Tensor, "n points c *latent"]
    conditions: Float[Tensor, "n tokens dim"]
    unasked: Float[Tensor, "1 tokens dim"]
    """The condition of nothing asked."""

    def split(self, num_held_out: int) -> tuple["Ways", "Ways"]:
        """All but the last ones, and these."""
        return self._take(slice(None, -num_held_out)), self._take(slice(-num_held_out, None))

    def _take(self, rows: slice) -> "Ways":
        return Ways(self.times, self.points[rows], self.conditions[rows], self.unasked)


@torch.inference_mode()
def draw_ways(
    teacher: Generator, requests: Sequence[Attributes], seed: int, how: SamplerConfig
) -> Ways:
    """One way for each request, sampled as `how` says."""
    ours, how = teacher.synthesizer, replace(how, batch=teacher.batch)
    parts = [
        _way(ours, requests[start : start + how.batch], start, WAY_SEEDS + seed, how)
        for start in range(0, len(requests), how.batch)
    ]
    times = ours.objective.schedule.grid(how.num_steps, shift=ours.objective.shift)
    asked = encode_attributes(ours.schema, ours.trained, requests, texts=ours.texts)
    asked = asked.to(ours.device)
    conditions, unasked = ours.encoder(asked), ours.encoder(asked.take(torch.tensor([0])).null())
    return Ways(times, torch.cat(parts), conditions, unasked)


def _way(
    ours: Synthesizer, requests: Sequence[Attributes], start: int, seed: int, how: SamplerConfig
) -> Float[Tensor, "n points c *latent"]:
    points: list[Tensor] = []

    def keep(number: int, latents: Tensor) -> None:
        points.append(latents)

    ours.trajectory(requests, range(start, start + len(requests)), seed, how, keep)
    return torch.stack(points, dim=1)
