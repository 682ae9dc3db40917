"""Our own model as a contestant: `medsynth.train` for as long as the rivals, and its sampler."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor, nn

from medsynth.checkpoint import Generator, load_generator, read_json
from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact
from medsynth.models.synthesizer import SamplerConfig
from medsynth.rivals.config import RivalsConfig
from medsynth.rivals.contestant import Effort, Entry, Volumes
from medsynth.rivals.pace import REHEARSAL, REHEARSED, clock, marking, steps_within
from medsynth.sample.drawing import sampler_of
from medsynth.sample.plan import Plan
from medsynth.train.config import TrainConfig
from medsynth.train.report import OnStep, StepReport
from medsynth.train.train import train

_STEPS = {"latents": "autoencoder_steps", "checkpoint": "denoiser_steps"}
"""Which field of the config counts a stage's steps."""


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A generator with the settings of its sampler."""

    generator: Generator
    how: SamplerConfig

    def draw(self, requests: Sequence[Attributes], indices: Sequence[int], seed: int) -> Volumes:
        """One scan per request."""
        return self.generator.draw(requests, indices, seed=seed, how=self.how)


def train_diffusion(
    prepared: Artifact,
    config: RivalsConfig,
    settings: TrainConfig,
    seed: int,
    on_step: OnStep,
    at: Path,
    plan: Plan,
) -> Entry:
    """A generator of so many minutes; its stages lie in the folder, the plan sets its sampler."""
    began = clock()
    seconds = 60 * config.minutes
    paced = _paced(prepared, config.first_share, settings, seconds, seed)
    _, checkpoint = train(prepared, at, paced, seed=seed, on_step=on_step)
    spent = clock() - began
    generator = load_generator(checkpoint.path)
    contestant = Diffusion(generator, sampler_of(generator, plan))
    ours = generator.synthesizer
    size = sum(
        parameter.numel()
        for network in (ours.autoencoder, ours.encoder, ours.denoiser)
        for parameter in network.parameters()
    )
    steps = int(read_json(checkpoint.path / "training.json")["step"])
    passes = _passes(contestant, ours.denoiser)
    return Entry(contestant, Effort(size, steps, steps * paced.denoiser_batch, spent, passes))


def _paced(
    prepared: Artifact, first_share: float, settings: TrainConfig, seconds: float, seed: int
) -> TrainConfig:
    """The config with as many steps of both networks as fill the time left after a rehearsal."""
    began, marks = clock(), {stage: list[float]() for stage in _STEPS}

    def mark(report: StepReport) -> None:
        marking(marks[report.stage])(report)

    short = settings.model_copy(update=dict.fromkeys(_STEPS.values(), REHEARSED) | REHEARSAL)
    with TemporaryDirectory() as folder:
        train(prepared, Path(folder), short, seed=seed, on_step=mark)
    left = seconds - (clock() - began)
    shares = {"latents": first_share, "checkpoint": 1 - first_share}
    steps = {
        field: steps_within(left * shares[stage], marks[stage], settings.validate_every)
        for stage, field in _STEPS.items()
    }
    return settings.model_copy(update=steps)


def _passes(contestant: Diffusion, denoiser: nn.Module) -> float:
    """Rows through the denoiser per scan drawn: guidance, where it is on, doubles a pass."""
    rows = []

    def count(network: nn.Module, given: tuple[Tensor, ...]) -> None:
        rows.append(len(given[0]))

    handle = denoiser.register_forward_pre_hook(count)
    try:
        contestant.draw([{}], [0], 0)
    finally:
        handle.remove()
    return sum(rows) / contestant.generator.batch
