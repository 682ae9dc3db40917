"""Training of the autoencoder on the training fold, with small shifts and changes of gain."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.checkpoint import best_device
from medsynth.models.autoencoder import Autoencoder
from medsynth.models.frame import Frame
from medsynth.train.config import TrainConfig
from medsynth.train.fit import Task, fit
from medsynth.train.fold import TrainingFold
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.ranks import Share
from medsynth.train.report import OnStep
from medsynth.train.state import Progressed


def train_autoencoder(
    fold: TrainingFold, frame: Frame, config: TrainConfig, seed: int, folder: Path, on_step: OnStep
) -> tuple[Autoencoder, Progressed]:
    """An autoencoder with its best averaged weights; `folder` holds the state meanwhile."""
    recipe = config.recipe("latents", seed)
    images = frame.to_tensor(fold.volumes[~fold.is_validation])
    device = best_device()
    held_out = frame.to_tensor(fold.volumes[fold.is_validation]).to(device)
    reconstruction = config.reconstruction
    factor = config.autoencoder(frame.spatial_dims).factor
    latent_shape = (config.latent_channels, *(side // factor for side in images.shape[2:]))

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        rows = batch_rows(len(images), config.autoencoder_batch, seed, step)
        batch = augment(images[rows], config.largest_shift, config.largest_gain)
        noise, mine = torch.randn((len(rows), *latent_shape)), share.rows(len(rows))
        batch = batch[mine].to(device)
        output, mean, sd = network(batch, noise[mine].to(device))
        parts = reconstruction(output.float(), batch)
        return reconstruction.with_kl(parts, mean.float(), sd.float())

    def validate(network: nn.Module) -> float:
        assert isinstance(network, Autoencoder)
        losses = [
            len(part) * float(reconstruction(network.decode(network.encode(part)), part)["loss"])
            for part in torch.split(held_out, config.autoencoder_batch)
        ]
        return sum(losses) / len(held_out)

    with torch.random.fork_rng():
        torch.manual_seed(step_seed(seed, "latents", "weights"))
        network = Autoencoder(config.autoencoder(frame.spatial_dims)).to(device)
    progressed = fit(Task(network, loss, validate), recipe, folder, on_step)
    return network, progressed


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


@torch.inference_mode()
def encode_all(
    network: Autoencoder, images: Float[Tensor, "n 1 *space"], batch: int
) -> Float[np.ndarray, "n c *latent"]:
    """Mean latents of all images, fp16."""
    device = next(network.parameters()).device
    parts = [network.encode(part.to(device)).half().cpu() for part in torch.split(images, batch)]
    return torch.cat(parts).numpy()
