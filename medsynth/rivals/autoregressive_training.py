"""Training of VQ autoencoder and transformer, by the code that trains our own networks."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional

from medsynth.checkpoint import best_device
from medsynth.models.autoencoder import Autoencoder
from medsynth.models.conditioning import ConditionEncoder, encode_attributes
from medsynth.rivals.autoregressive import Autoregressive, CodeWriter
from medsynth.rivals.config import RivalsConfig
from medsynth.rivals.contestant import Effort, Entry, Ground, Rival
from medsynth.rivals.pace import clock, paced, paced_config, taught
from medsynth.train.autoencoder import train_autoencoder
from medsynth.train.config import TrainConfig
from medsynth.train.fit import Task, fit
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.ranks import Share
from medsynth.train.report import OnStep


def train_autoregressive(
    ground: Ground, config: RivalsConfig, train: TrainConfig, seed: int, on_step: OnStep
) -> Entry:
    """Both networks, in so many minutes together."""
    began, seconds = clock(), 60 * config.minutes
    # Cosines are a start for latents from a normal distribution alone.
    train = train.model_copy(update={"autoencoder_kind": "vq", "autoencoder_cosines": False})
    autoencoder = _train_codes(ground, train, seed, on_step, seconds * config.first_share)
    codes = _encode_all(autoencoder, ground, train.autoencoder_batch)
    left = seconds - (clock() - began)
    writer, steps = _train_writer(ground, codes, config, train, seed, on_step, left)
    size = sum(p.numel() for network in (autoencoder, writer) for p in network.parameters())
    seen = steps * config.autoregressive.batch
    effort = Effort(size, steps, seen, clock() - began, float(writer.length))
    model = Autoregressive(autoencoder, writer, tuple(codes.shape[1:]))
    return Entry(Rival(ground, writer.length, model), effort)


def _train_codes(
    ground: Ground, train: TrainConfig, seed: int, on_step: OnStep, seconds: float
) -> Autoencoder:
    """The autoencoder of diffusion, with codes."""
    began = clock()

    def run(train: TrainConfig, folder: Path, on_step: OnStep) -> Autoencoder:
        return train_autoencoder(ground.fold, ground.frame, train, seed, folder, on_step)[0]

    with TemporaryDirectory() as folder:
        train = taught(train, ground.fold, seed, Path(folder))
        train = paced_config(train, run, seconds - (clock() - began), {"latents": 1.0})
        return run(train, Path(folder), on_step)


def _train_writer(
    ground: Ground,
    codes: Tensor,
    config: RivalsConfig,
    train: TrainConfig,
    seed: int,
    on_step: OnStep,
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
        network = CodeWriter(
            ConditionEncoder(ground.schema, ground.trained, ours.width),
            num_codes=train.num_codes,
            length=sequences.shape[1],
            width=ours.width,
            depth=ours.depth,
            heads=ours.heads,
            dropout=ours.dropout,
        ).to(device)
    task = Task(network, loss, validate)
    recipe = replace(
        train.recipe("checkpoint", seed), stage="writer", learning_rate=ours.learning_rate
    )
    with TemporaryDirectory() as folder:
        steps = fit(task, paced(task, recipe, seconds), Path(folder), on_step).step
    return network, steps


@torch.no_grad()
def _encode_all(autoencoder: Autoencoder, ground: Ground, batch: int) -> Tensor:
    """Codes (n, ...) of all scans."""
    device, codebook = next(autoencoder.parameters()).device, autoencoder.codebook
    assert codebook is not None
    images = ground.frame.to_tensor(ground.fold.volumes)
    parts = [autoencoder.encode(part.to(device)) for part in torch.split(images, batch)]
    return torch.cat([codebook.indices(part) for part in parts])
