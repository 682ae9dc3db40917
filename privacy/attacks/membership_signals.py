"""What a denoiser betrays of a scan: signals that are higher for scans it was trained on.

All come from noise and clean predictions on the maker's own path z_t = a z_0 + s eps:

- loss: || eps - eps_hat(z_t, t, c) ||^2, over noise that all scans share (Carlini et al., 2023).
- gain: the loss under the empty condition less that under c (CLiD, arXiv 2405.14800).
- sima: || eps_hat(a z_0, t, c) ||, a single query (arXiv 2509.25003).
- pia: || e_0 - eps_hat(a z_0 + s e_0, t, c) ||_4 with e_0 = eps_hat(z_0, START, c) (2305.18355).
- secmi: the step forward and back from the inverted scan, its squared error (2302.01316).

Errors are taken as minus their logarithm, the gain as a difference of logarithms: what a scan's
difficulty multiplies becomes an offset that a reference can take away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from medsynth.core.protocols import Denoiser, Latents, Voxels
from medsynth.core.schema import Attributes

TIMES = (0.05, 0.1, 0.2, 0.3, 0.5)
NUM_NOISES = 8
START = 0.01  # 1 % of noise: where DDPM's first step stands, on which PIA and SecMI were built
SECMI_TIME, SECMI_STEP = 0.1, 0.01  # t_sec = 100 and k = 10 of 1000
_BLOCK = 256  # scans whose latents are held at once
_TINY = 1e-12

PerScan = Float[np.ndarray, " scans"]


def read_signals(
    denoiser: Denoiser, volumes: Voxels, attributes: Sequence[Attributes], seed: int
) -> dict[str, PerScan]:
    """Every signal of every scan, by name; without attributes there is no gain."""
    blocks = []
    for start in range(0, len(volumes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        latents = denoiser.encode(volumes[rows])
        empty = denoiser.condition(None)
        asked = denoiser.condition(attributes[rows]) if attributes else empty
        blocks.append(_signals(Probe(denoiser, latents, asked), empty, bool(attributes), seed))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _signals(probe: "Probe", empty: Any, is_asked: bool, seed: int) -> dict[str, PerScan]:
    shape = (NUM_NOISES, *probe.latents.shape[1:])
    noises = np.random.default_rng([seed, 8]).standard_normal(shape, dtype=np.float32)
    start = probe.predict(probe.latents, START)[0]
    found: dict[str, PerScan] = {}
    for t in TIMES:
        found[f"loss {t}"] = -np.log(probe.loss(t, noises))
        if is_asked:
            unasked = Probe(probe.denoiser, probe.latents, empty).loss(t, noises)
            found[f"gain {t}"] = np.log(unasked) + found[f"loss {t}"]
        found[f"sima {t}"] = -np.log(probe.sima(t))
        found[f"pia {t}"] = -np.log(probe.pia(t, start))
    return found | {"secmi": -np.log(probe.secmi())}


@dataclass(frozen=True, eq=False)
class Probe:
    """Scans under the denoiser's eye, each with its condition."""

    denoiser: Denoiser
    latents: Latents
    condition: Any

    def predict(self, z_t: Latents, t: float) -> tuple[Latents, Latents]:
        """(noise, clean) at time t."""
        return self.denoiser.predict(z_t, t, self.condition)

    def loss(self, t: float, noises: Latents) -> PerScan:
        """Mean squared error of the noise, over the noises."""
        a, s = self.denoiser.path(t)
        errors = [
            mean_power(self.predict(as_single(a * self.latents + s * noise), t)[0] - noise, 2)
            for noise in noises
        ]
        mean: PerScan = np.mean(errors, axis=0)
        return mean

    def sima(self, t: float) -> PerScan:
        """Norm of the noise seen in a scan that has none."""
        a, _ = self.denoiser.path(t)
        norm: PerScan = np.sqrt(mean_power(self.predict(as_single(a * self.latents), t)[0], 2))
        return norm

    def pia(self, t: float, start: Latents) -> PerScan:
        """How far the noise seen at t is from that seen at the start, put there."""
        a, s = self.denoiser.path(t)
        noise = self.predict(as_single(a * self.latents + s * start), t)[0]
        norm: PerScan = mean_power(noise - start, 4) ** 0.25
        return norm

    def secmi(self) -> PerScan:
        """Squared error of one step forward and back, at the end of the inversion."""
        times = np.arange(START, SECMI_TIME + SECMI_STEP / 2, SECMI_STEP).tolist()
        z, here = self.latents, times[0]
        for there in times[1:]:
            z, here = self._step(z, here, there), there
        ahead = self._step(z, here, here + SECMI_STEP)
        return mean_power(self._step(ahead, here + SECMI_STEP, here) - z, 2)

    def _step(self, z: Latents, here: float, there: float) -> Latents:
        """DDIM's deterministic step, in either direction (Song et al., 2021, equation 12)."""
        noise, clean = self.predict(z, here)
        a, s = self.denoiser.path(there)
        return as_single(a * clean + s * noise)


def as_single(latents: Latents) -> Latents:
    """Latents as networks take them: float32."""
    return latents.astype(np.float32, copy=False)


def mean_power(differences: Latents, power: int) -> PerScan:
    """Mean of |x|^power over each scan's latents, never quite zero."""
    flat = differences.reshape(len(differences), -1).astype(np.float64)
    mean: PerScan = np.mean(np.abs(flat) ** power, axis=1)
    floored: PerScan = np.maximum(mean, _TINY)
    return floored
