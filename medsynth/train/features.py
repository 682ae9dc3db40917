"""Features for the perceptual loss: a small network taught to say how a scan was made worse.

It sees training scans with some of the finest detail, of the next finest, and noise taken out or
put in, and must tell how much of each: what a reconstruction loses is what it has to look at. No
attribute and no foreign image is needed.
"""

import shutil
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from medsynth.checkpoint import best_device, read_weights, write_weights
from medsynth.core.errors import UsageProblem
from medsynth.models.perceptual import FeatureConfig, FeatureNetwork
from medsynth.models.reconstruction import halve
from medsynth.train.config import TrainConfig
from medsynth.train.fit import Task, fit
from medsynth.train.order import batch_rows, step_seed
from medsynth.train.ranks import Share, current_share, tell_weights, told_number
from medsynth.train.recipe import spare_small_volumes
from medsynth.train.report import unheard

FILE = "features.safetensors"
COARSEST = 4
"""Voxels of a side that share one of the coarsest features."""
LARGEST_NOISE = 0.2
"""Sd of the strongest noise, in images of [-1, 1]."""


def learned_features(
    images: Float[Tensor, "n 1 *space"],
    held_out: Float[Tensor, "m 1 *space"],
    config: TrainConfig,
    seed: int,
    folder: Path,
) -> FeatureNetwork:
    """Frozen features taught on `images`, or read from `config.perceptual_weights`.

    They stay in the stage's `folder`, so that its receipt holds their digest and a killed
    training finds them again.
    """
    network, scratch = FeatureNetwork(FeatureConfig(images.ndim - 2)), folder / "features"
    if told_number(float((folder / FILE).exists())):
        read_weights(folder / FILE, network)
    elif config.perceptual_weights is not None:
        read_local_features(config.perceptual_weights, network)
    else:
        scratch.mkdir(exist_ok=True)
        network = _taught(images, held_out, config, seed, scratch)
    if current_share().is_first:
        write_weights(folder / (FILE + ".part"), network)
        (folder / (FILE + ".part")).replace(folder / FILE)
        shutil.rmtree(scratch, ignore_errors=True)
    return network.eval().requires_grad_(False).to(best_device())


def read_local_features(path: Path, network: FeatureNetwork) -> None:
    """Fill a network with the features of a local file."""
    try:
        read_weights(path, network)
    except (OSError, SafetensorError, RuntimeError):
        raise UsageProblem(
            "perceptual_weights must be a safetensors file with the features of a network like "
            "ours, such as features.safetensors of a latents stage with as many spatial dims; "
            "this file is not"
        ) from None


def _taught(
    images: Tensor, held_out: Tensor, config: TrainConfig, seed: int, folder: Path
) -> FeatureNetwork:
    """A network that tells how a scan was made worse; held-out scans pick its best average."""
    device, recipe = best_device(), config.recipe("features", seed)
    recipe = spare_small_volumes(recipe, images.shape[2:], COARSEST)
    with torch.random.fork_rng():
        torch.manual_seed(step_seed(seed, "features", "weights"))
        network = FeatureNetwork(FeatureConfig(images.ndim - 2)).to(device)
        worse, truth = (part.to(device) for part in spoil(held_out))

    def loss(network: nn.Module, step: int, share: Share) -> dict[str, Tensor]:
        batch, asked = spoil(images[batch_rows(len(images), recipe.batch, seed, step)])
        mine = share.rows(recipe.batch)
        answers = network(batch[mine].to(device))
        return {"loss": functional.mse_loss(answers.float(), asked[mine].to(device))}

    def validate(network: nn.Module) -> float:
        answers = torch.cat([network(part) for part in torch.split(worse, recipe.batch)])
        return float(functional.mse_loss(answers, truth))

    fit(Task(network, loss, validate), recipe, folder, unheard)
    tell_weights(network)
    return network


def spoil(
    images: Float[Tensor, "n 1 *space"],
) -> tuple[Float[Tensor, "n 1 *space"], Float[Tensor, "n 3"]]:
    """Images made worse, and how much: finest and next detail lost (shares), noise (0 to 1)."""
    strengths = torch.rand(len(images), 3)
    fine, middle, noise = strengths.view(len(images), 3, *[1] * (images.ndim - 1)).unbind(1)
    once = halve(images)
    soft, softer = enlarge(once, images), enlarge(enlarge(halve(once), once), images)
    kept = softer + (1 - middle) * (soft - softer) + (1 - fine) * (images - soft)
    return kept + LARGEST_NOISE * noise * torch.randn_like(images), strengths


def enlarge(images: Float[Tensor, "n c *half"], like: Tensor) -> Float[Tensor, "n c *space"]:
    """Images interpolated to the sides of `like`."""
    mode = "bilinear" if images.ndim == 4 else "trilinear"
    return functional.interpolate(images, like.shape[2:], mode=mode)
