"""Stage "latents": the autoencoder, and the training fold's latents in one fp16 memory map.

latents/: autoencoder.safetensors, latents.npy (n, c, ...) in order of scan_id, latents.json
(scan ids, per-channel mean and sd over the training fold, what was trained), training.json.
With a public autoencoder mean and sd are its own, and there is no training.json.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from medsynth.checkpoint import autoencoder_of, best_device, read_json, read_weights, write_weights
from medsynth.core.stage import Artifact
from medsynth.models.frame import Frame
from medsynth.models.imported import AnyAutoencoder
from medsynth.models.synthesizer import LatentScale
from medsynth.train.autoencoder import encode_all, train_autoencoder
from medsynth.train.config import TrainConfig
from medsynth.train.fold import TrainingFold
from medsynth.train.order import step_seed
from medsynth.train.ranks import current_share
from medsynth.train.report import OnStep
from medsynth.train.state import FOLDER, Progressed

TRAINING_FILE = "training.json"


def build_latents(
    folder: Path, fold: TrainingFold, config: TrainConfig, seed: int, on_step: OnStep
) -> None:
    """Train the autoencoder and encode the fold into a stage folder."""
    frame = Frame(fold.spatial_shape, config.multiple)
    network, progressed = train_autoencoder(fold, frame, config, seed, folder, on_step)
    if not current_share().is_first:
        return
    latents = encode_all(network, frame.to_tensor(fold.volumes), config.autoencoder_batch)
    axes = (0, *range(2, latents.ndim))
    mean, sd = latents.mean(axes, dtype=np.float64), latents.astype(np.float64).std(axes)
    scale = LatentScale(mean, evened(sd, config.coarse_first))
    _write(folder, fold, network, latents, scale)
    finish_training(folder, progressed)


def evened(sd: Float[np.ndarray, " channels"], coarse_first: float) -> np.ndarray:
    """What latents are divided by: their sd (0), one number for all (1), or what lies between.

    A channel that stays stronger than the others, as coarse ones are, rises from the noise before
    them, so that the fine ones are drawn when it is known what they belong to (Dieleman,
    "Diffusion is spectral autoregression", 2024).
    """
    together = np.sqrt(np.square(sd).mean())
    return np.asarray(sd ** (1 - coarse_first) * together**coarse_first)


def encode_latents(
    folder: Path,
    fold: TrainingFold,
    config: TrainConfig,
    network: AnyAutoencoder,
    scale: LatentScale,
) -> None:
    """Encode the fold with a finished autoencoder into a stage folder."""
    frame = Frame(fold.spatial_shape, config.multiple)
    images = frame.to_tensor(fold.volumes)
    latents = encode_all(network.to(best_device()), images, config.autoencoder_batch)
    _write(folder, fold, network, latents, scale)


def encode_moved(
    fold: TrainingFold, network: AnyAutoencoder, config: TrainConfig, seed: int
) -> Float[np.ndarray, "copies n c *latent"]:
    """Latents of moved copies of the scans that training learns from, in their order, fp16."""
    frame, spacing = Frame(fold.spatial_shape, config.multiple), np.array(fold.geometry.spacing)
    rng = np.random.default_rng(step_seed(seed, "checkpoint", "copies"))
    copies = []
    for _ in range(config.latent_copies):
        scans = fold.volumes[~fold.is_validation]
        moved = np.stack([config.movement.move(scan, spacing, rng) for scan in scans])
        copies.append(encode_all(network, frame.to_tensor(moved), config.autoencoder_batch))
    return np.stack(copies)


def _write(
    folder: Path,
    fold: TrainingFold,
    network: AnyAutoencoder,
    latents: Float[np.ndarray, "n c *latent"],
    scale: LatentScale,
) -> None:
    write_weights(folder / "autoencoder.safetensors", network)
    np.save(folder / "latents.npy", latents)
    fields = {
        "scan_ids": [scan.scan_id for scan in fold.scans],
        "mean": scale.mean.tolist(),
        "sd": scale.sd.tolist(),
        "autoencoder": asdict(network.config),
    }
    (folder / "latents.json").write_text(json.dumps(fields, indent=1) + "\n")


def finish_training(folder: Path, progressed: Progressed) -> None:
    """Keep the history of a finished training; drop the state that only a killed one needs."""
    told = {name: value for name, value in vars(progressed).items() if name != "untold"}
    fields = {name: value for name, value in told.items() if value != inf}
    (folder / TRAINING_FILE).write_text(json.dumps(fields, indent=1) + "\n")
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def read_latents(stage: Artifact) -> Float[np.ndarray, "n c *latent"]:
    """The latents of the training fold, memory-mapped."""
    latents: np.ndarray = np.load(stage.path / "latents.npy", mmap_mode="r", allow_pickle=False)
    return latents


def read_scale(stage: Artifact) -> LatentScale:
    """The latents' statistics."""
    return scale_of(read_json(stage.path / "latents.json"))


def scale_of(fields: Mapping[str, Any]) -> LatentScale:
    """The statistics as JSON holds them."""
    return LatentScale(np.array(fields["mean"]), np.array(fields["sd"]))


def read_autoencoder(stage: Artifact) -> AnyAutoencoder:
    """The trained autoencoder."""
    fields = read_json(stage.path / "latents.json")
    network = autoencoder_of(fields["autoencoder"])
    read_weights(stage.path / "autoencoder.safetensors", network)
    network.eval()
    return network
