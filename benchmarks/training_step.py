"""B6: one step of our training loop beside one of MONAI's tutorial loop, equal network and batch.

    OMP_NUM_THREADS=1 python -m benchmarks.training_step [--rounds 9] [--quick] [--write]

Ours is `medsynth.train.fit` itself: bf16 where the processor has it, two averages of the weights,
clipping, schedule, latents from the memory map. The peer is the loop of MONAI's latent diffusion
tutorial on latents that are there already: fp32, Adam, DDPM's epsilon, `loss.item()` for its bar. A
peer's step runs after each of ours.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.comparison import Gate, Result, arguments, best_device, tell
from benchmarks.monai_peer import Velocity
from benchmarks.roofline import Machine, flop_of, seconds_of
from medsynth.core.schema import AttributeSchema
from medsynth.models.conditioning import AttributeBatch, ConditionEncoder, encode_attributes
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.objective import Objective
from medsynth.models.synthesizer import LatentScale
from medsynth.rivals.pace import clock
from medsynth.train.config import TrainConfig
from medsynth.train.diffusion import ConditionedDenoiser
from medsynth.train.fit import Task, fit
from medsynth.train.latent_rows import LatentRows
from medsynth.train.order import batch_rows
from medsynth.train.ranks import Share
from medsynth.train.recipe import computes_bf16
from medsynth.train.report import StepReport

CHANNELS, COUNT = 4, 256
ROUNDING = 0.02
"""By how much, relative, bf16 may move the loss of a batch."""


@dataclass(frozen=True)
class Case:
    """A network's widths and a batch."""

    channels: tuple[int, ...]
    sides: tuple[int, ...]
    batch: int

    def __str__(self) -> str:
        widths, sides = ("/".join(map(str, self.channels)), "x".join(map(str, self.sides)))
        return f"{sides}x{CHANNELS}, {widths}, batch {self.batch}"

    def network(self, device: torch.device) -> ConditionedDenoiser:
        torch.manual_seed(0)
        config = DenoiserConfig(len(self.sides), CHANNELS, 1, self.channels)
        encoder = ConditionEncoder(AttributeSchema(()), {}, config.token_dim)
        return ConditionedDenoiser(encoder, Denoiser(config), Objective()).to(device)

    def latents(self, device: torch.device) -> LatentRows:
        latents = np.random.default_rng(0).normal(size=(COUNT, CHANNELS, *self.sides))
        scale = LatentScale(np.zeros(CHANNELS), np.ones(CHANNELS))
        return LatentRows.of(latents.astype(np.float16), scale, device)


def nothing_asked(count: int, device: torch.device) -> AttributeBatch:
    return encode_attributes(AttributeSchema(()), {}, [{}] * count).to(device)


def our_loss(
    latents: LatentRows, batch: int
) -> Callable[[nn.Module, int, Share], dict[str, Tensor]]:
    asked = nothing_asked(batch, latents.device)

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        clean = latents.take(batch_rows(len(latents), batch, 0, step))
        t = Objective().draw_times(batch).to(latents.device)
        noise = torch.randn(clean.shape).to(latents.device)
        return {"loss": network(clean, noise, t, asked).mean()}

    return loss


def peer_step(network: ConditionedDenoiser, latents: LatentRows, batch: int) -> Callable[[], float]:
    """The tutorial's step, after its loader has given it a batch."""
    model = Velocity(network.denoiser)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    scheduler = DDPMScheduler(1000, "scaled_linear_beta", beta_start=0.0015, beta_end=0.0195)
    inferer = DiffusionInferer(scheduler)
    clean = latents.all()
    condition = network.encoder(nothing_asked(batch, latents.device)).detach()

    def step() -> float:
        rows = torch.randperm(len(clean))[:batch].to(latents.device)
        model.train()
        optimizer.zero_grad(set_to_none=True)
        noise = torch.randn_like(clean[rows])
        timesteps = torch.randint(0, 1000, (batch,), device=latents.device).long()
        predicted = inferer(clean[rows], model, noise, timesteps, condition=condition)
        loss = F.mse_loss(predicted.float(), noise.float())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def compare(case: Case, rounds: int, machine: Machine, device: torch.device) -> Result:
    network, latents = case.network(device), case.latents(device)
    theirs = peer_step(copy.deepcopy(network), latents, case.batch)
    settings = TrainConfig(
        denoiser_steps=rounds + 2, denoiser_batch=case.batch, report_every=1, save_every=10**6
    )
    marks, ours, peer = [0.0], list[float](), list[float]()

    def on_step(report: StepReport) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        ours.append(clock() - marks[0])
        peer.append(seconds_of(theirs))
        marks[0] = clock()

    task = Task(network, our_loss(latents, case.batch), validate=None)
    with TemporaryDirectory() as room:
        fit(task, settings.recipe("checkpoint", 0), Path(room), on_step)
    gap = rounding(network, latents, case.batch)
    flop = 3 * flop_of(lambda: our_loss(latents, case.batch)(network, 0, Share()))
    dtype = torch.bfloat16 if computes_bf16("auto", device) else torch.float32
    # The first report comes before any step; the first step warms up, and the last one ends.
    kept = slice(2, 2 + rounds)
    gate = Gate("loss moved by rounding, relative", gap, ROUNDING)
    return Result(str(case), peer[kept], ours[kept], 1.5, machine.limit(flop, dtype), (gate,))


@torch.no_grad()
def rounding(network: ConditionedDenoiser, latents: LatentRows, batch: int) -> float:
    """How far bf16 moves the loss of one batch, where the network has something to say."""
    losses = []
    nn.init.normal_(network.denoiser.network.out[2].conv.weight, std=0.05)
    for is_bf16 in (False, True):
        torch.manual_seed(0)
        with torch.autocast(latents.device.type, torch.bfloat16, enabled=is_bf16):
            losses.append(float(our_loss(latents, batch)(network, 0, Share())["loss"]))
    return abs(losses[1] / losses[0] - 1)


def cases(is_quick: bool) -> Iterator[Case]:
    if is_quick:
        yield Case((16, 32), (8, 8), 4)
        return
    yield Case((48, 96, 128), (16, 16), 32)
    yield Case((64, 128, 256), (32, 32), 8)
    yield Case((32, 64), (16, 16, 16), 4)


def main() -> None:
    given = arguments(__doc__, rounds=9).parse_args()
    device = best_device()
    machine = Machine.measure(device)
    results = [compare(case, given.rounds, machine, device) for case in cases(given.quick)]
    tell("B6, training step", results, machine, (), given.write)


if __name__ == "__main__":
    main()
