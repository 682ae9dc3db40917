"""Stage "checkpoint": the denoiser, trained on cached latents, and the generator around it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from medsynth.checkpoint import Generator, best_device, save_generator
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Artifact
from medsynth.models.cells import count_cells
from medsynth.models.conditioning import (
    AttributeBatch,
    ConditionEncoder,
    encode_attributes,
)
from medsynth.models.denoiser import Denoiser
from medsynth.models.frame import Frame
from medsynth.models.guidance import Guidance, guided
from medsynth.models.imported import AnyAutoencoder
from medsynth.models.masks import MaskGrid
from medsynth.models.objective import Objective
from medsynth.models.sampler import integrate
from medsynth.models.synthesizer import LatentScale, Synthesizer
from medsynth.models.text import NO_TEXTS
from medsynth.models.trained import learn_attributes
from medsynth.text_encoder import TextEncoder
from medsynth.train.config import TrainConfig
from medsynth.train.dp_config import DpConfig
from medsynth.train.dp_denoiser import private_steps
from medsynth.train.dp_statement import state, write_statement
from medsynth.train.fit import Task, fit
from medsynth.train.fold import TrainingFold
from medsynth.train.latent_rows import LatentRows
from medsynth.train.latents import (
    encode_moved,
    finish_training,
    read_autoencoder,
    read_latents,
    read_scale,
)
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.previews import FOLDER as PREVIEWS
from medsynth.train.previews import NUM_SCANS, write_preview
from medsynth.train.ranks import Share, current_share
from medsynth.train.recipe import spare_small_volumes
from medsynth.train.report import OnStep

VALIDATION_DRAWS = 8
PREVIEW_STEPS = 10


class ConditionedDenoiser(nn.Module):
    """Condition encoder and denoiser, trained as one."""

    def __init__(self, encoder: ConditionEncoder, denoiser: Denoiser, objective: Objective) -> None:
        super().__init__()
        self.encoder, self.denoiser, self.objective = encoder, denoiser, objective

    def forward(self, x0: Tensor, noise: Tensor, t: Tensor, asked: AttributeBatch) -> Tensor:
        """Weighted squared error of the prediction, per scan."""
        output = self.denoiser(self.objective.add_noise(x0, noise, t), t, self.encoder(asked))
        missed: Tensor = output - self.objective.learned(x0, noise, t)
        return self.objective.weight(t) * missed.square().flatten(1).mean(dim=1)

    def draw(self, noise: Tensor, asked: AttributeBatch) -> Tensor:
        """Latents from noise in a few steps, without guidance."""
        predict = guided(self.denoiser, [(self.encoder(asked), 1.0)], Guidance())
        times = self.objective.schedule.grid(PREVIEW_STEPS, shift=self.objective.shift)
        return integrate(predict, noise, times, objective=self.objective, method="ab2")


def build_checkpoint(
    folder: Path,
    fold: TrainingFold,
    latents: Artifact,
    config: TrainConfig,
    *,
    seed: int,
    prepared_digest: str,
    texts: TextEncoder | None,
    on_step: OnStep,
) -> None:
    """Train the denoiser and write the whole generator into a stage folder."""
    read_by = NO_TEXTS if texts is None else texts
    device = best_device()
    frame, scale = Frame(fold.spatial_shape, config.multiple), read_scale(latents)
    autoencoder = read_autoencoder(latents)
    grid = MaskGrid(fold.spatial_shape, config.multiple, autoencoder.config.factor)
    trained = learn_attributes(
        fold.schema,
        fold.attributes,
        fold.masks,
        grid,
        subjects=fold.subjects,
        text_shape=() if texts is None else texts.shape,
    )
    with torch.random.fork_rng():
        torch.manual_seed(step_seed(seed, "checkpoint", "weights"))
        objective = config.denoiser_objective
        shape = config.denoiser(frame.spatial_dims, num_tokens=1)
        encoder = ConditionEncoder(fold.schema, trained, shape.token_dim)
        shape = replace(shape, num_tokens=encoder.num_tokens, has_positions=encoder.has_positions)
        network = ConditionedDenoiser(encoder, Denoiser(shape), objective).to(device)
    x0 = LatentRows.of(read_latents(latents), scale, device)
    asked = encode_attributes(fold.schema, trained, fold.attributes, fold.masks, read_by)
    asked = asked.to(device)
    if config.dp is None:
        copies = _moved_copies(fold, autoencoder.to(device), scale, config, seed)
        task = _plain_task(network, x0, copies, asked, fold, config, seed)
        task = replace(task, preview=_preview(folder, latents, frame, asked, fold, seed))
    else:
        public = latents.receipt["parents"]["autoencoder"]
        task = _private_task(folder, network, x0, asked, fold, config, config.dp, public)
    recipe = config.recipe("checkpoint", seed)
    recipe = spare_small_volumes(recipe, frame.padded_shape, config.multiple)
    progressed = fit(task, recipe, folder, on_step)
    if not current_share().is_first:
        return
    synthesizer = Synthesizer(
        autoencoder,
        encoder,
        network.denoiser,
        scale,
        frame,
        fold.schema,
        trained,
        objective,
        texts=read_by,
    )
    cells = count_cells(fold.schema, fold.attributes, fold.subjects)
    generator = Generator(synthesizer, fold.geometry, fold.modality, cells)
    save_generator(folder, generator, prepared_digest=prepared_digest)
    finish_training(folder, progressed)
    # A checkpoint is handed on, and these are pictures that nobody has screened.
    shutil.rmtree(folder / PREVIEWS, ignore_errors=True)


def _preview(
    folder: Path,
    latents: Artifact,
    frame: Frame,
    asked: AttributeBatch,
    fold: TrainingFold,
    seed: int,
) -> Callable[[nn.Module, int], None]:
    """Draws what some validation scans' attributes ask for, always from the same noise."""
    device, scale = asked.states.device, read_scale(latents)
    autoencoder = read_autoencoder(latents).to(device)
    rows = torch.from_numpy(np.flatnonzero(fold.is_validation)[:NUM_SCANS])
    generator = torch.Generator().manual_seed(step_seed(seed, "checkpoint", "preview"))
    shape = (len(rows), *read_latents(latents).shape[1:])
    noise = torch.randn(shape, generator=generator).to(device)
    wanted = asked.take(rows.to(device))

    def preview(network: nn.Module, step: int) -> None:
        assert isinstance(network, ConditionedDenoiser)
        drawn = scale.undo(network.draw(noise, wanted))
        images = torch.cat([autoencoder.decode(latents) for latents in torch.split(drawn, 1)])
        write_preview(folder, step, [frame.to_volumes(images)])

    return preview


def _moved_copies(
    fold: TrainingFold,
    autoencoder: AnyAutoencoder,
    scale: LatentScale,
    config: TrainConfig,
    seed: int,
) -> LatentRows | None:
    """Latents of moved copies of what is learned from, copy after copy; none where none is wanted.

    Raises UsageProblem for masks, which would have to be moved with their scans.
    """
    if not config.latent_copies:
        return None
    if any(attribute.kind == "mask" for attribute in fold.schema):
        raise UsageProblem("scans with masks are not moved: latent_copies must be 0")
    moved = encode_moved(fold, autoencoder, config, seed)
    device = next(autoencoder.parameters()).device
    return LatentRows.of(moved.reshape(-1, *moved.shape[2:]), scale, device)


def _private_task(
    folder: Path,
    network: ConditionedDenoiser,
    x0: LatentRows,
    asked: AttributeBatch,
    fold: TrainingFold,
    config: TrainConfig,
    dp: DpConfig,
    public_autoencoder: str,
) -> Task:
    """A private task; what its epsilon covers is written down first."""
    steps = private_steps(
        x0.all(),
        asked,
        fold.subjects,
        dp,
        num_steps=config.denoiser_steps,
        attribute_dropout=config.attribute_dropout,
        objective=config.denoiser_objective,
    )
    num_subjects = len(steps.rows_by_subject)
    write_statement(folder, state(steps.mechanism, dp, num_subjects, public_autoencoder))
    return Task(network, steps, validate=None, is_private=True)


def _plain_task(
    network: ConditionedDenoiser,
    x0: LatentRows,
    copies: LatentRows | None,
    asked: AttributeBatch,
    fold: TrainingFold,
    config: TrainConfig,
    seed: int,
) -> Task:
    is_validation = torch.from_numpy(fold.is_validation)
    learning, steering = (keep.nonzero().squeeze(1) for keep in (~is_validation, is_validation))
    return Task(
        network,
        loss=_training_loss(x0, copies, asked, learning, config, seed),
        validate=_validation_loss(x0.take(steering), asked.take(steering), seed),
    )


def _training_loss(
    x0: LatentRows,
    copies: LatentRows | None,
    asked: AttributeBatch,
    learning: Int[Tensor, " learning"],
    config: TrainConfig,
    seed: int,
) -> Callable[[nn.Module, int, Share], dict[str, Tensor]]:
    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        places = batch_rows(len(learning), config.denoiser_batch, seed, step)
        rows = learning[places]
        batch = asked.take(rows).dropped(config.attribute_dropout)
        noise = torch.randn((len(rows), *x0.mapped.shape[1:]))
        t, mine = config.denoiser_objective.draw_times(len(rows)), share.rows(len(rows))
        which = torch.randint(config.latent_copies + 1, (len(rows),))
        clean = x0.take(rows[mine])
        if copies is not None:
            moved = copies.take((which[mine] - 1).clamp_min(0) * len(learning) + places[mine])
            is_moved = (which[mine] > 0).to(x0.device)
            clean = torch.where(is_moved.view(-1, *[1] * (clean.ndim - 1)), moved, clean)
        noise, t = noise[mine].to(x0.device), t[mine].to(x0.device)
        errors: Tensor = network(clean, noise, t, batch.take(mine))
        return {"loss": errors.mean()}

    return loss


def _validation_loss(
    x0: Float[Tensor, "n c *latent"], asked: AttributeBatch, seed: int
) -> Callable[[nn.Module], float]:
    """Fixed noise, and for every scan the same spread of times: comparable between steps."""
    generator = torch.Generator().manual_seed(step_seed(seed, "checkpoint", "validation"))
    draws = torch.randn((VALIDATION_DRAWS, *x0.shape), generator=generator).to(x0.device)
    shares = (torch.arange(VALIDATION_DRAWS) + 0.5) / VALIDATION_DRAWS
    times = torch.sigmoid(torch.special.ndtri(shares)).to(x0.device)

    def validate(network: nn.Module) -> float:
        errors = [
            network(x0, noise, t.expand(len(x0)), asked).mean()
            for noise, t in zip(draws, times, strict=True)
        ]
        return float(torch.stack(errors).mean())

    return validate
