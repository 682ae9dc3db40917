"""A Gaussian fitted to latents: what any model must clear.

Its mean is linear in the attributes, its covariance that of the training scans' residuals; a
draw needs no covariance matrix, for X' z with z ~ N(0, 1 / (n - 1)) has the sample covariance of
the centered rows X.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.checkpoint import best_device
from medsynth.core.stage import Artifact
from medsynth.models.conditioning import PRESENT, AttributeBatch, encode_attributes
from medsynth.models.imported import AnyAutoencoder
from medsynth.models.synthesizer import LatentScale
from medsynth.rivals.contestant import Effort, Entry, Ground, Rival
from medsynth.rivals.pace import clock
from medsynth.train.latents import read_autoencoder, read_latents, read_scale

_RIDGE = 1.0


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Weights (columns, latents) of the mean, residuals (scans, latents), and the decoder."""

    autoencoder: AnyAutoencoder
    scale: LatentScale
    weights: Float[Tensor, "columns latents"]
    residuals: Float[Tensor, "scans latents"]
    latent: tuple[int, ...]

    def __call__(
        self, noise: Float[Tensor, "n scans"], asked: AttributeBatch
    ) -> Float[Tensor, "n 1 *space"]:
        """Images of normal numbers, one per training scan, and of what is asked for."""
        latents = self.latents(noise, asked).view(len(noise), *self.latent)
        return torch.as_tensor(self.autoencoder.decode(self.scale.undo(latents)))

    def latents(
        self, noise: Float[Tensor, "n scans"], asked: AttributeBatch
    ) -> Float[Tensor, "n latents"]:
        """Scaled and flattened."""
        spread = noise @ self.residuals / (len(self.residuals) - 1) ** 0.5
        latents: Tensor = _columns(asked) @ self.weights + spread
        return latents


def fit_gaussian(ground: Ground, latents: Artifact, seconds: float) -> Entry:
    """A Gaussian over the latents of a trained autoencoder, which took so many seconds."""
    began, device = clock(), best_device()
    keep = torch.from_numpy(np.flatnonzero(~ground.fold.is_validation))
    scale, stored = read_scale(latents), torch.from_numpy(read_latents(latents)[keep])
    rows = scale.apply(stored.double()).flatten(1)
    asked = encode_attributes(ground.schema, ground.trained, ground.fold.attributes).take(keep)
    columns = _columns(asked).double()
    penalty = _RIDGE * torch.eye(columns.shape[1], dtype=torch.float64)
    penalty[0, 0] = 0  # the mean itself is not shrunk
    weights = torch.linalg.solve(columns.T @ columns + penalty, columns.T @ rows)
    residuals = rows - columns @ weights
    model = Gaussian(
        read_autoencoder(latents).to(device),
        scale,
        weights.float().to(device),
        residuals.float().to(device),
        tuple(stored.shape[1:]),
    )
    size = sum(p.numel() for p in model.autoencoder.parameters())
    size += weights.numel() + residuals.numel()
    effort = Effort(size, 1, len(keep), seconds + clock() - began, 1.0)
    return Entry(Rival(ground, len(keep), model), effort)


def _columns(asked: AttributeBatch) -> Float[Tensor, "n columns"]:
    """One, what is known of each attribute, and whether it is."""
    known = (asked.states == PRESENT).float()
    return torch.cat([known.new_ones(len(asked), 1), asked.values, known], dim=1)
