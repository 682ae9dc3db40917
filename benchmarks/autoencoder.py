"""Round trips of held-out scans under several losses, at equal steps.

    OMP_NUM_THREADS=1 python -P benchmarks/autoencoder.py PREPARED [--steps 2000] [--seed 0] \
        [--losses plain,perceptual,adversarial,both] [--train autoencoder_channels=[32,64]]

Trains on fold train and judges on fold control of a prepared stage: L1, PSNR, the share of the
scans' energy above half the highest frequency that the round trips keep, and how well a small
network, taught on half of the held-out subjects, tells round trips from scans in the other half.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.stage import open_stage
from medsynth.models.frame import Frame
from medsynth.train.autoencoder import train_autoencoder
from medsynth.train.config import TrainConfig
from medsynth.train.fold import read_training_fold
from medsynth.train.report import unheard

LOSSES = {
    "plain": {"perceptual_weight": 0.0, "adversarial_weight": 0.0},
    "perceptual": {"adversarial_weight": 0.0},
    "adversarial": {"perceptual_weight": 0.0},
    "both": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--losses", default=",".join(LOSSES))
    parser.add_argument("--train", action="append", default=[], metavar="FIELD=JSON")
    given = parser.parse_args()
    asked = dict(field.split("=", 1) for field in given.train)
    changes = {name: json.loads(value) for name, value in asked.items()}
    prepared = open_stage(given.prepared)
    fold = read_training_fold(prepared)
    control = Manifest.read(prepared.path).fold("control")
    volumes = load_arrays(prepared.path, control).astype(np.float32)
    print(f"{len(fold.scans)} scans of fold train, {len(volumes)} of fold control")
    for name in given.losses.split(","):
        fields = {"autoencoder_steps": given.steps, "validate_every": given.steps}
        config = TrainConfig.model_validate(fields | LOSSES[name] | changes)
        frame, began = Frame(fold.spatial_shape, config.multiple), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            network, _ = train_autoencoder(fold, frame, config, given.seed, Path(folder), unheard)
        spent = time.process_time() - began
        trips = round_trips(network.eval(), frame, volumes)
        numbers = judge(trips, volumes) | {"cpu_seconds": spent}
        row = "  ".join(f"{key} {value:.4g}" for key, value in numbers.items())
        print(f"{name:12s} {row}", flush=True)


@torch.inference_mode()
def round_trips(network: nn.Module, frame: Frame, volumes: np.ndarray) -> np.ndarray:
    parts = frame.to_tensor(volumes).split(16)
    return np.concatenate([frame.to_volumes(network.decode(network.encode(p))) for p in parts])


def judge(trips: np.ndarray, volumes: np.ndarray) -> dict[str, float]:
    error = trips - volumes
    axes = tuple(range(1, error.ndim))
    psnr = -10 * np.log10(np.square(error).mean(axes))
    aucs = [told_apart(trips, volumes, seed) for seed in range(3)]
    return {
        "l1": float(np.abs(error).mean()),
        "psnr": float(psnr.mean()),
        "high_frequencies": high_energy(trips) / high_energy(volumes),
        "auc": float(np.mean(aucs)),
        "auc_sd": float(np.std(aucs)),
    }


def high_energy(volumes: np.ndarray) -> float:
    """Mean energy at more than half the highest frequency of an axis."""
    images = volumes.squeeze(-1) if volumes.shape[-1] == 1 else volumes
    axes = tuple(range(1, images.ndim))
    radius = np.sqrt(
        sum(
            np.square(f) for f in np.meshgrid(*map(np.fft.fftfreq, images.shape[1:]), indexing="ij")
        )
    )
    return float(np.square(np.abs(np.fft.fftn(images, axes=axes)))[:, radius > 0.25].mean())


def told_apart(trips: np.ndarray, volumes: np.ndarray, seed: int, steps: int = 150) -> float:
    """AUC of a small network on the half of the subjects that it was not taught on."""
    torch.manual_seed(seed)
    dims = 2 if volumes.shape[-1] == 1 else 3
    images = [
        torch.from_numpy(x).squeeze(-1)[:, None] if dims == 2 else torch.from_numpy(x)[:, None]
        for x in (volumes, trips)
    ]
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(volumes)))
    taught, asked = order[: len(order) // 2], order[len(order) // 2 :]
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    layers = []
    for before, after, stride in [(1, 16, 1), (16, 32, 2), (32, 64, 2)]:
        layers += [conv(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU()]
    pool = nn.AdaptiveAvgPool2d(1) if dims == 2 else nn.AdaptiveAvgPool3d(1)
    network = nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    truth = torch.tensor([1.0, 0.0])
    for _ in range(steps):
        rows = taught[torch.randint(len(taught), (12,))]
        answers = network(torch.cat([part[rows] for part in images])).squeeze(1)
        loss = functional.binary_cross_entropy_with_logits(answers, truth.repeat_interleave(12))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        scores = [
            torch.cat([network(p).squeeze(1) for p in part[asked].split(32)]) for part in images
        ]
    labels = truth.repeat_interleave(len(asked))
    return float(roc_auc_score(labels.numpy(), torch.cat(scores).numpy()))


if __name__ == "__main__":
    main()
