"""B8: a sampler's error by its passes through the network, ours beside MONAI's on equal weights.

    OMP_NUM_THREADS=1 python -m benchmarks.sampler_error CHECKPOINT PREPARED \
        [--scans 8] [--quick] [--write]

The error is the RMSE, in latents of unit variance, to a thousand steps in fp64 from the same
noise. DDIM and PNDM see the network through its own velocity, as one that predicts noise
(monai_peer.py), and begin where their table of betas ends.
"""

import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDIMScheduler, PNDMScheduler, RFlowScheduler
from torch import Tensor, nn

from benchmarks.comparison import publish
from benchmarks.monai_peer import Noise, Velocity
from benchmarks.roofline import Machine
from benchmarks.trained import Trained, trained_arguments
from medsynth.models.objective import Objective
from medsynth.models.sampler import Predict, integrate

STEPS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28, 32)
PEER_STEPS = (10, 30, 50)
FINE, MOST_SHARE, LEAST_SLOPE = 1000, 3.0, 1.9
BETAS = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195}
"""Those of MONAI's latent diffusion tutorial."""


@dataclass(frozen=True)
class Point:
    """A sampler's error after so many passes."""

    name: str
    passes: int
    error: float


@dataclass(frozen=True, eq=False)
class Field:
    """A fixed network with its conditions and starting noise."""

    velocity: Velocity
    condition: Tensor
    noise: Tensor

    def predict(self, dtype: torch.dtype) -> Predict:
        network = copy.deepcopy(self.velocity).to(dtype)
        condition = self.condition.to(dtype)
        return lambda x, t, span: network(x, torch.tensor([1000 * t]), condition)

    @torch.inference_mode()
    def ours(self, start: float, steps: int, dtype: torch.dtype, factor: float = 1.0) -> Tensor:
        """By ab2 from a time on; the noise is multiplied by a factor first."""
        return integrate(
            self.predict(dtype),
            factor * self.noise.to(dtype),
            start * Objective().schedule.grid(steps),
            objective=Objective(),
            method="ab2",
        )

    def theirs(self, scheduler: nn.Module, network: nn.Module) -> Tensor:
        return DiffusionInferer(scheduler).sample(
            self.noise, network, conditioning=self.condition, verbose=False
        )


def rmse(found: Tensor, fine: Tensor) -> float:
    return float((found.double() - fine).square().mean().sqrt())


def flow_peers(field: Field, fine: Tensor) -> Iterator[Point]:
    size = field.noise[0, 0].numel()
    maisi = {"use_timestep_transform": True, "transform_scale": 1.4, "base_img_size_numel": size}
    for name, given in (("RFlow Euler", {}), ("RFlow Euler, MAISI's settings", maisi)):
        for steps in PEER_STEPS:
            scheduler = RFlowScheduler(
                use_discrete_timesteps=not given, spatial_dim=field.noise.ndim - 2, **given
            )
            scheduler.set_timesteps(steps, input_img_size_numel=size)
            found = field.theirs(scheduler, field.velocity)
            travelled = f"{name}, sum of dt {sum_of_dt(scheduler):.4f}"
            yield Point(travelled, steps, rmse(found, fine))


def sum_of_dt(scheduler: RFlowScheduler) -> float:
    """What the inferer's steps add up to; it rounds the next time down."""
    times = [*scheduler.timesteps.tolist(), 0]
    return sum(t - int(t_next) for t, t_next in pairwise(times)) / scheduler.num_train_timesteps


def table_peers(field: Field, num_fine: int) -> Iterator[Point]:
    peers = {
        "DDIM": lambda: DDIMScheduler(1000, clip_sample=False, **BETAS),
        "PNDM": lambda: PNDMScheduler(1000, skip_prk_steps=True, set_alpha_to_one=True, **BETAS),
    }
    network = Noise(field.velocity, DDIMScheduler(1000, **BETAS).alphas_cumprod)
    start, factor = network.start()
    fine = field.ours(start, num_fine, torch.float64, factor)
    for name, make in peers.items():
        for steps in PEER_STEPS:
            scheduler = make()
            scheduler.set_timesteps(steps)
            found = field.theirs(scheduler, network)
            yield Point(name, len(scheduler.timesteps), rmse(found, fine))


def slope(points: list[Point]) -> float:
    """By which power of the steps the error falls from 8 to 32."""
    error = {point.passes - 1: point.error for point in points}
    return log(error[8] / error[32]) / log(4)


def row(peer: Point, ours: list[Point]) -> tuple[str, bool]:
    least = next((point for point in ours if point.error <= peer.error), None)
    ratio = peer.passes / least.passes if least else 0.0
    told = f"{least.passes} ({least.error:.3g})" if least else "none"
    missed = " missed" * (ratio < MOST_SHARE)
    cells = (peer.name, str(peer.passes), f"{peer.error:.3g}", told, f"{ratio:.2g}{missed}")
    return f"| {' | '.join(cells)} |", ratio >= MOST_SHARE


def main() -> None:
    parser = trained_arguments(__doc__)
    parser.add_argument("--scans", type=int, default=8)
    given = parser.parse_args()
    trained = Trained.read(given.checkpoint, given.prepared)
    ours = trained.generator.synthesizer
    count, num_fine = (2, 64) if given.quick else (given.scans, FINE)
    condition, noise = trained.condition(0, count), trained.noise(0, count)
    field = Field(Velocity(ours.denoiser), condition, noise)
    fine = field.ours(1.0, num_fine, torch.float64)
    own = [
        Point("ab2", steps + 1, rmse(field.ours(1.0, steps, torch.float32), fine))
        for steps in STEPS
    ]
    peers = [*flow_peers(field, fine), *table_peers(field, num_fine)]
    head = "| peer | passes | RMSE | ours as good: passes (RMSE) | times fewer (goal 3) |"
    table = "\n".join([head, "| --- | --- | --- | --- | --- |", *(row(p, own)[0] for p in peers)])
    travelled = -float(np.diff(ours.objective.schedule.grid(10)).sum())
    errors = ", ".join(f"{point.passes}: {point.error:.3g}" for point in own)
    notes = [
        f"ab2, RMSE by passes: {errors}",
        f"slope from 8 to 32 steps {slope(own):.2f} (goal {LEAST_SLOPE}); "
        f"sum of dt - 1 = {travelled - 1:.1e}",
        f"{count} scans of latents {tuple(noise.shape[1:])}; {num_fine} steps in fp64",
    ]
    publish("B8, sampler error", table, Machine.measure(ours.device), notes, given.write)
    sys.exit(abs(travelled - 1) > 1e-6)


if __name__ == "__main__":
    main()
