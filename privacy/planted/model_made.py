"""Copies that the generator itself makes: its autoencoder's, and SDEdit's.

SDEdit (Meng et al., ICLR 2022, arXiv 2108.01073) noises a scan up to time t and denoises it again;
published filters of copies fail on what comes out (arXiv 2510.01793).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np

from medsynth.core.protocols import Denoiser, Latents
from privacy.planted.scan import Batch

ROUND_TRIP = "round_trip"
SDEDIT = {"sdedit_10": 0.1, "sdedit_20": 0.2, "sdedit_30": 0.3, "sdedit_50": 0.5}
"""Time up to which each kind is noised."""
_NUM_STEPS = 20


@runtime_checkable
class Redream(Protocol):
    """The generator's SDEdit: noised up to time t in (0, 1), denoised again."""

    def __call__(self, volumes: Batch, t: float, seed: int) -> Batch:
        """The volumes as the generator dreams them anew; the seed draws the noise."""
        ...


def redream_by(denoiser: Denoiser, decode: Callable[[Latents], Batch]) -> Redream:
    """SDEdit through white-box access, under the empty condition.

    Steps are deterministic (DDIM: Song et al., ICLR 2021, eq. 12 with sigma 0), in even times.
    """

    def redream(volumes: Batch, t: float, seed: int) -> Batch:
        latents, condition = denoiser.encode(volumes), denoiser.condition(None)
        noise = np.random.default_rng(seed).standard_normal(latents.shape).astype(latents.dtype)
        signal, spread = denoiser.path(t)
        z = signal * latents + spread * noise
        for now, after in pairwise(np.linspace(t, 0, _NUM_STEPS + 1).tolist()):
            predicted, clean = denoiser.predict(z, now, condition)
            signal, spread = denoiser.path(after)
            z = signal * clean + spread * predicted
        return decode(z)

    return redream
