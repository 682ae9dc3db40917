"""Training of the autoencoder on the training fold, with small shifts and changes of gain.

A reconstruction costs what its voxels and edges differ, and, where they have a weight, what it
differs in features taught on the same scans, and, from a share of the steps on, what a critic
finds in it that scans do not have.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.checkpoint import best_device, free_bytes
from medsynth.models.autoencoder import Autoencoder
from medsynth.models.frame import Frame
from medsynth.models.imported import AnyAutoencoder
from medsynth.models.memory import encode
from medsynth.models.perceptual import FeatureNetwork
from medsynth.train.adversary import Adversary
from medsynth.train.config import TrainConfig
from medsynth.train.features import learned_features
from medsynth.train.fit import Task, fit
from medsynth.train.fold import TrainingFold
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.previews import NUM_SCANS, write_preview
from medsynth.train.ranks import Share
from medsynth.train.recipe import spare_small_volumes
from medsynth.train.report import OnStep
from medsynth.train.state import Progressed


@dataclass(frozen=True, eq=False)
class Losses:
    """What a reconstruction costs under a config."""

    config: TrainConfig
    features: FeatureNetwork | None
    adversary: Adversary | None

    def of_images(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`loss` and its parts, all but the adversary's."""
        parts = self.config.reconstruction(output, target)
        if self.features is None:
            return parts
        gap = self.features.distance(output, target)
        loss = parts["loss"] + self.config.perceptual_weight * gap
        return parts | {"loss": loss, "perceptual": gap}

    def of_step(
        self, network: nn.Module, images: Tensor, noise: Tensor, further: Tensor, step: int
    ) -> dict[str, Tensor]:
        """`loss` and its parts, after the adversary has had its turn."""
        output, regularizer = network(images, noise, further)
        output = within(output.float(), images)
        parts = self.of_images(output, images)
        loss = parts["loss"] + self.config.regularizer_weight * regularizer
        parts |= {"loss": loss, "regularizer": regularizer}
        if self.adversary is None or not self.adversary.has_begun(step):
            return parts
        critic = self.adversary.learn(images, output.detach(), step)
        doubt = self.adversary.critic.disbelief(output)
        loss = parts["loss"] + self.config.adversarial_weight * doubt
        return parts | {"loss": loss, "disbelief": doubt, "critic": critic}


def train_autoencoder(
    fold: TrainingFold, frame: Frame, config: TrainConfig, seed: int, folder: Path, on_step: OnStep
) -> tuple[Autoencoder, Progressed]:
    """An autoencoder with its best averaged weights; `folder` holds the state meanwhile."""
    images = frame.to_tensor(fold.volumes[~fold.is_validation])
    held_out = frame.to_tensor(fold.volumes[fold.is_validation])
    device, recipe = best_device(), config.recipe("latents", seed)
    sides = frame.padded_shape
    # The critic's last convolutions see twice as far as the coarsest latents lie apart.
    recipe = spare_small_volumes(recipe, sides, 2 * config.autoencoder(len(sides)).factor)
    features, adversary = None, None
    if config.perceptual_weight:
        features = learned_features(images, held_out, config, seed, folder)
    with torch.random.fork_rng():
        torch.manual_seed(step_seed(seed, "latents", "weights"))
        network = Autoencoder(config.autoencoder(frame.spatial_dims)).to(device)
        if config.adversarial_weight:
            adversary = Adversary.of(sides, recipe, config.adversarial_start, device)
    losses = Losses(config, features, adversary)
    latent_shape = (config.latent_channels, *network.latent_sides(sides))

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        rows = batch_rows(len(images), recipe.batch, seed, step)
        batch = augment(images[rows], config.largest_shift, config.largest_gain)
        noise, mine = torch.randn((len(rows), *latent_shape)), share.rows(len(rows))
        further = config.latent_noise * torch.rand(len(rows))
        batch, noise, further = (part[mine].to(device) for part in (batch, noise, further))
        return losses.of_step(network, batch, noise, further, step)

    def validate(network: nn.Module) -> float:
        assert isinstance(network, Autoencoder)
        total = 0.0
        for part in torch.split(held_out.to(device), recipe.batch):
            output = within(network.decode(network.encode(part)), part)
            total += len(part) * float(losses.of_images(output, part)["loss"])
        return total / len(held_out)

    def preview(network: nn.Module, step: int) -> None:
        assert isinstance(network, Autoencoder)
        real = held_out[:NUM_SCANS].to(device)
        parts = torch.split(real, recipe.batch)
        back = torch.cat([network.decode(network.encode(part)) for part in parts])
        write_preview(folder, step, [frame.to_volumes(real), frame.to_volumes(back)])

    companions = {"adversary": adversary.learner} if adversary else {}
    # Voxels hardly show what a critic improves: weights that it has not seen must not win.
    first = min(adversary.begins + 1, recipe.num_steps) if adversary else 0
    task = Task(network, loss, validate, companions=companions, preview=preview, counts_from=first)
    return network, fit(task, recipe, folder, on_step)


def within(output: Tensor, target: Tensor) -> Tensor:
    """Where a scan is at an end of its range, a reconstruction beyond it is there, too.

    Decoded scans are cut there, so that a background may be safely below its end, not around it.
    """
    return torch.where(target.abs() < 1, output, output.clamp(-1, 1))


def augment(
    images: Float[Tensor, "n 1 *space"], largest_shift: int, largest_gain: float
) -> Float[Tensor, "n 1 *space"]:
    """Images in [-1, 1] moved by whole voxels, the same for the batch, and scaled, each its own.

    Never flipped: bodies have a left and a right.
    """
    axes = tuple(range(2, images.ndim))
    shifts = torch.randint(-largest_shift, largest_shift + 1, (len(axes),)).tolist()
    moved = torch.roll(images, shifts, axes)
    gain = 1 + largest_gain * (2 * torch.rand(len(images), *[1] * (images.ndim - 1)) - 1)
    return ((moved + 1) * gain - 1).clamp(-1, 1)


def encode_all(
    network: AnyAutoencoder, images: Float[Tensor, "n 1 *space"], batch: int
) -> Float[np.ndarray, "n c *latent"]:
    """Mean latents of all images, fp16; in tiles where a batch does not fit in memory."""
    free = free_bytes(next(network.parameters()).device)
    parts = [encode(network, part, free).half() for part in torch.split(images, batch)]
    return torch.cat(parts).numpy()
