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
from medsynth.rivals.pace import clock, paced_config, taught
from medsynth.sample.drawing import sampler_of
from medsynth.sample.plan import Plan
from medsynth.train.config import TrainConfig
from medsynth.train.fold import TrainingFold
from medsynth.train.report import OnStep
from medsynth.train.train import train


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
    fold: TrainingFold,
    config: RivalsConfig,
    settings: TrainConfig,
    seed: int,
    on_step: OnStep,
    at: Path,
    plan: Plan,
) -> Entry:
    """A generator of so many minutes; its stages lie in the folder, the plan sets its sampler."""
    began, seconds = clock(), 60 * config.minutes

    def run(settings: TrainConfig, folder: Path, on_step: OnStep) -> Artifact:
        return train(prepared, folder, settings, seed=seed, on_step=on_step)[1]

    shares = {"latents": config.first_share, "checkpoint": 1 - config.first_share}
    with TemporaryDirectory() as features:
        settings = taught(settings, fold, seed, Path(features))
        settings = paced_config(settings, run, seconds - (clock() - began), shares)
        checkpoint = run(settings, at, on_step)
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
    return Entry(contestant, Effort(size, steps, steps * settings.denoiser_batch, spent, passes))


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
