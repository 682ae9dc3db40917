"""Training of VQ-VAE and transformer, each by the loop that trains our own networks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medsynth.checkpoint import best_device
from medsynth.core.schema import Attributes
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.rivals.autoregressive import Codebook, CodebookShape, CodeWriter
from medsynth.rivals.config import AutoregressiveConfig, RivalsConfig
from medsynth.rivals.contestant import Effort, Entry, Ground, Volumes, counter, in_batches
from medsynth.rivals.pace import clock, paced
from medsynth.train.autoencoder import augment
from medsynth.train.config import TrainConfig
from medsynth.train.fit import Task, fit
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.ranks import Share
from medsynth.train.recipe import Recipe
from medsynth.train.report import OnStep

_BATCH = 32
"""Scans of one micro-batch when drawing."""


@dataclass(frozen=True, eq=False)
class Autoregressive:
    """A trained codebook and who writes with it."""

    ground: Ground
    codebook: Codebook
    writer: CodeWriter
    latent: tuple[int, ...]

    @torch.inference_mode()
    def draw(self, requests: Sequence[Attributes], indices: Sequence[int], seed: int) -> Volumes:
        """One scan per request, code by code."""
        self.ground.check(requests)
        chance = [counter(seed, index).random(self.writer.length) for index in indices]
        return in_batches(self._draw, requests, np.stack(chance), _BATCH)

    def _draw(self, requests: Sequence[Attributes], chance: np.ndarray) -> Volumes:
        device = next(self.writer.parameters()).device
        asked = encode_attributes(self.ground.schema, self.ground.trained, requests)
        codes = self.writer.write(asked.to(device), chance)
        images = self.codebook.decode(codes.view(len(codes), *self.latent))
        return self.ground.frame.to_volumes(images)


def train_autoregressive(
    ground: Ground, config: RivalsConfig, train: TrainConfig, seed: int, on_step: OnStep, at: Path
) -> Entry:
    """Both networks, in so many minutes together; states of the trainings lie in the folder."""
    began, seconds = clock(), 60 * config.minutes
    codebook = _train_codebook(ground, config, train, seed, on_step, at / "codes")
    left = seconds - (clock() - began)
    codes = _encode_all(codebook, ground)
    writer, steps = _train_writer(ground, codes, config, train, seed, on_step, at / "writer", left)
    size = sum(p.numel() for network in (codebook, writer) for p in network.parameters())
    seen = steps * config.autoregressive.batch
    effort = Effort(size, steps, seen, clock() - began, float(writer.length))
    return Entry(Autoregressive(ground, codebook, writer, tuple(codes.shape[1:])), effort)


def _train_codebook(
    ground: Ground, config: RivalsConfig, train: TrainConfig, seed: int, on_step: OnStep, at: Path
) -> Codebook:
    ours, device = config.autoregressive, best_device()
    fold, frame, reconstruction = ground.fold, ground.frame, train.reconstruction
    images = frame.to_tensor(fold.volumes[~fold.is_validation])
    held_out = frame.to_tensor(fold.volumes[fold.is_validation]).to(device)

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        rows = batch_rows(len(images), ours.code_batch, seed, step)
        batch = augment(images[rows], train.largest_shift, train.largest_gain).to(device)
        output, distance = network(batch)
        parts = reconstruction(output.float(), batch)
        return parts | {"loss": parts["loss"] + distance, "distance": distance}

    def validate(network: nn.Module) -> float:
        parts = torch.split(held_out, ours.code_batch)
        losses = [len(p) * float(reconstruction(network(p)[0].float(), p)["loss"]) for p in parts]
        return sum(losses) / len(held_out)

    with torch.random.fork_rng():
        torch.manual_seed(step_seed(seed, "codes", "weights"))
        shape = CodebookShape(frame.spatial_dims, ours.channels, ours.num_codes, ours.code_dim)
        network = Codebook(shape).to(device)
        network.begin_at(images[: 4 * ours.code_batch].to(device))
    task = Task(network, loss, validate)
    recipe = _recipe("codes", train, seed, ours.code_learning_rate, 0.0)
    _fit(task, recipe, 60 * config.minutes * config.first_share, at, on_step)
    return network


def _train_writer(
    ground: Ground,
    codes: Tensor,
    config: RivalsConfig,
    train: TrainConfig,
    seed: int,
    on_step: OnStep,
    at: Path,
    seconds: float,
) -> tuple[CodeWriter, int]:
    ours, device, fold = config.autoregressive, best_device(), ground.fold
    sequences = codes.flatten(1).to(device)
    asked = encode_attributes(ground.schema, ground.trained, fold.attributes).to(device)
    held_out = torch.from_numpy(fold.is_validation)
    learned, kept = ((~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0])

    def cross_entropy(network: nn.Module, rows: Tensor) -> Tensor:
        wanted = sequences[rows]
        logits: Tensor = network(wanted, asked.take(rows))
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        rows = learned[batch_rows(len(learned), ours.batch, seed, step)]
        return {"loss": cross_entropy(network, rows)}

    def validate(network: nn.Module) -> float:
        parts = torch.split(kept, ours.batch)
        return sum(len(p) * float(cross_entropy(network, p)) for p in parts) / len(kept)

    with torch.random.fork_rng():
        torch.manual_seed(step_seed(seed, "writer", "weights"))
        network = _writer(ground, ours, sequences.shape[1]).to(device)
    recipe = _recipe("writer", train, seed, ours.learning_rate, train.weight_decay)
    return network, _fit(Task(network, loss, validate), recipe, seconds, at, on_step)


def _writer(ground: Ground, ours: AutoregressiveConfig, length: int) -> CodeWriter:
    return CodeWriter(
        ConditionEncoder(ground.schema, ground.trained, ours.width),
        num_codes=ours.num_codes,
        length=length,
        width=ours.width,
        depth=ours.depth,
        heads=ours.heads,
        dropout=ours.dropout,
    )


def _fit(task: Task, recipe: Recipe, seconds: float, at: Path, on_step: OnStep) -> int:
    """Train for so many seconds; how many steps it took."""
    at.mkdir(parents=True, exist_ok=True)
    return fit(task, paced(task, recipe, seconds), at, on_step).step


def _recipe(
    stage: str, train: TrainConfig, seed: int, learning_rate: float, weight_decay: float
) -> Recipe:
    """The recipe of our own networks at another rate; the steps come from the time."""
    ours = train.recipe("checkpoint", seed)
    return replace(ours, stage=stage, learning_rate=learning_rate, weight_decay=weight_decay)


@torch.no_grad()
def _encode_all(codebook: Codebook, ground: Ground) -> Tensor:
    device = next(codebook.parameters()).device
    images = ground.frame.to_tensor(ground.fold.volumes)
    parts = [codebook.encode(part.to(device)).cpu() for part in torch.split(images, _BATCH)]
    return torch.cat(parts)
