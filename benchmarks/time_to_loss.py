"""B7: time until our training is as good, on held-out scans, as MONAI's DDPM ever gets.

    OMP_NUM_THREADS=1 python -m benchmarks.time_to_loss LATENTS PREPARED \
        [--steps 400] [--seeds 3] [--peer-rate 1e-4] [--quick] [--write]

Equal network, conditions, batch and latents (stage latents/ of a training). Ours is
`medsynth.train.fit`: flow, logit-normal times, bf16, averaged weights. The peer is the tutorial's
loop: epsilon, uniform timesteps, scaled linear betas, Adam, fp32, no average. It runs beside ours,
after every step, for several times as long. Held-out loss is measured on the inner validation tenth
at eight times that both know (monai_peer.py): as the flow's velocity, and as the noise, which is
the peer's own measure. Measuring costs no one time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
from benchmarks.roofline import Machine
from medsynth.core.stage import open_stage
from medsynth.models.conditioning import (
    AttributeBatch,
    ConditionEncoder,
    encode_attributes,
)
from medsynth.models.denoiser import Denoiser
from medsynth.models.objective import Objective
from medsynth.models.trained import learn_attributes
from medsynth.rivals.pace import clock
from medsynth.train.config import TrainConfig
from medsynth.train.diffusion import ConditionedDenoiser
from medsynth.train.fit import Task, fit
from medsynth.train.fold import TrainingFold, read_training_fold
from medsynth.train.latent_rows import LatentRows
from medsynth.train.latents import read_latents, read_scale
from medsynth.train.order import batch_rows
from medsynth.train.ranks import Share
from medsynth.train.report import StepReport

GOAL, HEAD_START = 3.0, 4.0
"""How many times as fast ours must be, and how many times as long the peer may run."""
BETAS = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195}
DRAWS = 8
MEASURES = ("flow", "noise")


@dataclass(frozen=True, eq=False)
class Cohort:
    """Scaled latents with what is recorded of their scans; some rows only measure."""

    latents: Tensor
    asked: AttributeBatch
    is_held_out: Tensor
    fold: TrainingFold

    @classmethod
    def read(cls, latents: Path, prepared: Path) -> "Cohort":
        fold, stage = read_training_fold(open_stage(prepared)), open_stage(latents)
        seen = learn_attributes(fold.schema, fold.attributes)
        device = best_device()
        rows = LatentRows.of(read_latents(stage), read_scale(stage), device)
        asked = encode_attributes(fold.schema, seen, fold.attributes).to(device)
        return cls(rows.all(), asked, torch.from_numpy(fold.is_validation), fold)

    @property
    def learning(self) -> Tensor:
        """Rows that training sees."""
        return (~self.is_held_out).nonzero().squeeze(1)

    def network(self, config: TrainConfig, seed: int) -> ConditionedDenoiser:
        torch.manual_seed(seed)
        seen = learn_attributes(self.fold.schema, self.fold.attributes)
        shape = config.denoiser(self.latents.ndim - 2, max(1, len(self.fold.schema)))
        encoder = ConditionEncoder(self.fold.schema, seen, shape.token_dim)
        network = ConditionedDenoiser(encoder, Denoiser(shape), Objective())
        return network.to(self.latents.device)


class Yardstick:
    """Held-out squared errors of velocity and noise, at timesteps of the peer's table."""

    def __init__(self, cohort: Cohort, seed: int) -> None:
        rows = cohort.is_held_out.nonzero().squeeze(1)
        self.clean, self.asked = cohort.latents[rows], cohort.asked.take(rows)
        drawn = torch.Generator().manual_seed(seed)
        self.noise = torch.randn((DRAWS, *self.clean.shape), generator=drawn).to(self.clean)
        left = DDPMScheduler(1000, **BETAS).alphas_cumprod.double()
        a, s = left.sqrt(), (1 - left).sqrt()
        shares = (torch.arange(DRAWS) + 0.5) / DRAWS
        wanted = torch.sigmoid(torch.special.ndtri(shares))
        self.timesteps = [int((s / (a + s) - t).abs().argmin()) for t in wanted]
        self.paths = [(float(a[k]), float(s[k])) for k in self.timesteps]

    @torch.no_grad()
    def ours(self, network: ConditionedDenoiser) -> dict[str, float]:
        return self._measure(
            lambda here, a, s, k: network.denoiser(
                here, torch.full((len(here),), s / (a + s)).to(here), network.encoder(self.asked)
            )
        )

    @torch.no_grad()
    def peer(self, network: ConditionedDenoiser) -> dict[str, float]:
        model, condition = Velocity(network.denoiser).eval(), network.encoder(self.asked)

        def velocity(here: Tensor, a: float, s: float, k: int) -> Tensor:
            x = here * (a + s)
            told = model(x, torch.tensor([k]), condition)
            return (x - s * told) / a - told

        found = self._measure(velocity)
        model.train()
        return found

    def _measure(self, velocity: Callable[[Tensor, float, float, int], Tensor]) -> dict[str, float]:
        flow, noise = [], []
        for (a, s), k, eps in zip(self.paths, self.timesteps, self.noise, strict=True):
            here = (a * self.clean + s * eps) / (a + s)
            missed = velocity(here, a, s, k) - (self.clean - eps)
            flow.append(float(missed.square().mean()))
            # The image's share of a point here is 1 - t = a / (a + s).
            noise.append(flow[-1] * (a / (a + s)) ** 2)
        return {"flow": float(np.mean(flow)), "noise": float(np.mean(noise))}


@dataclass(eq=False)
class Curve:
    """Held-out losses by seconds of training."""

    seconds: list[float] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)

    def add(self, seconds: float, losses: dict[str, float]) -> None:
        self.seconds.append(seconds)
        self.losses.append(losses)

    def best(self, measure: str) -> tuple[float, float]:
        """(loss, seconds until it was reached)."""
        return min(
            (losses[measure], s) for losses, s in zip(self.losses, self.seconds, strict=True)
        )

    def until(self, measure: str, loss: float) -> float:
        """Seconds until no worse than a loss; infinity where it never was."""
        reached = zip(self.seconds, self.losses, strict=True)
        return min((s for s, losses in reached if losses[measure] <= loss), default=float("inf"))


class Peer:
    """MONAI's tutorial loop, step by step."""

    def __init__(
        self, cohort: Cohort, network: ConditionedDenoiser, batch: int, seed: int, rate: float
    ) -> None:
        self.cohort, self.network, self.batch, self.seed = cohort, network, batch, seed
        self.optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        self.inferer = DiffusionInferer(DDPMScheduler(1000, **BETAS))
        self.seconds, self.steps, self.curve = 0.0, 0, Curve()

    def step(self) -> None:
        began, device = clock(), self.cohort.latents.device
        places = batch_rows(len(self.cohort.learning), self.batch, self.seed, self.steps)
        rows = self.cohort.learning[places].to(device)
        clean = self.cohort.latents[rows]
        self.optimizer.zero_grad(set_to_none=True)
        noise = torch.randn_like(clean)
        timesteps = torch.randint(0, 1000, (self.batch,), device=device).long()
        condition = self.network.encoder(self.cohort.asked.take(rows))
        model = Velocity(self.network.denoiser)
        predicted = self.inferer(clean, model, noise, timesteps, condition=condition)
        F.mse_loss(predicted, noise).backward()
        self.optimizer.step()
        self.seconds += clock() - began
        self.steps += 1

    def catch_up(self, seconds: float, every: int, yardstick: Yardstick) -> None:
        """Steps until so many seconds are spent, measured at every so many."""
        while self.seconds < seconds:
            self.step()
            if self.steps % every == 0:
                self.curve.add(self.seconds, yardstick.peer(self.network))


def race(cohort: Cohort, config: TrainConfig, seed: int, rate: float) -> tuple[Curve, Peer]:
    """Ours and the peer's curves, side by side."""
    yardstick, ours = Yardstick(cohort, seed), Curve()
    network = cohort.network(config, seed)
    peer = Peer(cohort, cohort.network(config, seed), config.denoiser_batch, seed, rate)
    measured: dict[str, float] = {}
    spent, mark = [0.0], [clock()]

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        places = batch_rows(len(cohort.learning), config.denoiser_batch, seed, step)
        rows = cohort.learning[places].to(cohort.latents.device)
        t = config.denoiser_objective.draw_times(len(rows)).to(cohort.latents.device)
        clean = cohort.latents[rows]
        asked = cohort.asked.take(rows).dropped(config.attribute_dropout)
        return {"loss": network(clean, torch.randn(clean.shape).to(clean), t, asked).mean()}

    def validate(network: nn.Module) -> float:
        began = clock()
        measured.update(yardstick.ours(network))
        mark[0] += clock() - began
        return measured["flow"]

    def on_step(report: StepReport) -> None:
        if report.step:
            spent[0] += clock() - mark[0]
            if "validation" in report.metrics:
                ours.add(spent[0], dict(measured))
            every = round(HEAD_START) * config.validate_every
            peer.catch_up(HEAD_START * spent[0], every, yardstick)
        mark[0] = clock()

    with TemporaryDirectory() as room:
        fit(Task(network, loss, validate), config.recipe("checkpoint", seed), Path(room), on_step)
    return ours, peer


def results(races: Sequence[tuple[Curve, Peer]]) -> list[Result]:
    found = []
    for measure in MEASURES:
        best = [peer.curve.best(measure) for _, peer in races]
        ours = [
            curve.until(measure, loss) for (curve, _), (loss, _) in zip(races, best, strict=True)
        ]
        gates = tuple(
            Gate("held-out loss", curve.best(measure)[0], loss)
            for (curve, _), (loss, _) in zip(races, best, strict=True)
        )
        what = f"held-out loss of the {measure}: MONAI DDPM"
        found.append(Result(what, [s for _, s in best], ours, GOAL, None, gates))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("latents", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peer-rate", type=float, default=1e-4)
    given = parser.parse_args()
    steps, seeds = (20, 1) if given.quick else (given.steps, given.seeds)
    config = TrainConfig(
        denoiser_steps=steps, report_every=1, validate_every=max(5, steps // 20), save_every=10**6
    )
    cohort = Cohort.read(given.latents, given.prepared)
    races = [race(cohort, config, seed, given.peer_rate) for seed in range(seeds)]
    notes = [
        f"{len(cohort.learning)} latents {tuple(cohort.latents.shape[1:])} to learn from, "
        f"{int(cohort.is_held_out.sum())} held out; batch {config.denoiser_batch}; "
        f"ours {steps} steps, rate {config.denoiser_learning_rate:g}; the peer "
        f"{', '.join(str(peer.steps) for _, peer in races)} steps, rate {given.peer_rate:g}",
        "ours by seconds, seed 0: "
        + ", ".join(
            f"{s:.0f} s {losses['flow']:.3f}"
            for s, losses in zip(races[0][0].seconds, races[0][0].losses, strict=True)
        ),
    ]
    tell("B7, time to loss", results(races), Machine.measure(best_device()), notes, given.write)


if __name__ == "__main__":
    main()
