"""A Gaussian fitted to latents: what any model must clear.

Its mean is linear in the attributes, its covariance that of the training scans' residuals; a
draw needs no covariance matrix, for X' z with z ~ N(0, 1 / (n - 1)) has the sample covariance of
the centered rows X.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact
from medsynth.models.conditioning import PRESENT, encode_attributes
from medsynth.models.imported import AnyAutoencoder
from medsynth.models.synthesizer import LatentScale
from medsynth.rivals.contestant import Effort, Entry, Ground, Volumes, counter, in_batches
from medsynth.rivals.pace import clock
from medsynth.train.latents import read_autoencoder, read_latents, read_scale

_RIDGE = 1.0
_BATCH = 32
"""Scans of one micro-batch when drawing."""


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Weights (columns, latents) of the mean, residuals (scans, latents), and the decoder."""

    ground: Ground
    autoencoder: AnyAutoencoder
    scale: LatentScale
    weights: Float[np.ndarray, "columns latents"]
    residuals: Float[np.ndarray, "scans latents"]
    latent: tuple[int, ...]

    @torch.inference_mode()
    def draw(self, requests: Sequence[Attributes], indices: Sequence[int], seed: int) -> Volumes:
        """One scan per request."""
        self.ground.check(requests)
        count = len(self.residuals)
        noise = [counter(seed, index).standard_normal(count, np.float32) for index in indices]
        return in_batches(self._draw, requests, np.stack(noise), _BATCH)

    def latents(
        self, requests: Sequence[Attributes], noise: Float[np.ndarray, "n scans"]
    ) -> Float[np.ndarray, "n latents"]:
        """Scaled latents of a request and standard normal numbers, one per training scan."""
        spread = noise @ self.residuals / np.sqrt(len(self.residuals) - 1)
        latents: np.ndarray = _columns(self.ground, requests) @ self.weights + spread
        return latents

    def _draw(self, requests: Sequence[Attributes], noise: np.ndarray) -> Volumes:
        latents = self.latents(requests, noise).astype(np.float32)
        scaled = torch.from_numpy(latents).view(len(noise), *self.latent)
        return self.ground.frame.to_volumes(self.autoencoder.decode(self.scale.undo(scaled)))


def fit_gaussian(ground: Ground, latents: Artifact, seconds: float) -> Entry:
    """A Gaussian over the latents of a trained autoencoder, which took so many seconds."""
    began = clock()
    keep = np.flatnonzero(~ground.fold.is_validation)
    scale, stored = read_scale(latents), torch.from_numpy(read_latents(latents)[keep])
    rows = scale.apply(stored.float()).flatten(1).numpy()
    columns = _columns(ground, [ground.fold.attributes[row] for row in keep])
    penalty = _RIDGE * np.eye(columns.shape[1])
    penalty[0, 0] = 0  # the mean itself is not shrunk
    weights = np.linalg.solve(columns.T @ columns + penalty, columns.T @ rows)
    model = Gaussian(
        ground,
        read_autoencoder(latents),
        scale,
        weights,
        rows - columns @ weights,
        tuple(stored.shape[1:]),
    )
    size = sum(p.numel() for p in model.autoencoder.parameters()) + weights.size
    spent = seconds + clock() - began
    return Entry(model, Effort(size + model.residuals.size, 1, len(keep), spent, 1.0))


def _columns(ground: Ground, rows: Sequence[Attributes]) -> Float[np.ndarray, "n columns"]:
    """One, what is known of each attribute, and whether it is."""
    batch = encode_attributes(ground.schema, ground.trained, rows)
    known = (batch.states == PRESENT).double()
    parts = [torch.ones(len(rows), 1, dtype=torch.float64), batch.values.double(), known]
    columns: np.ndarray = torch.cat(parts, dim=1).numpy()
    return columns
