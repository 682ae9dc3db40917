"""A twin of a generator: its training run once more, with planted scans added to its train fold.

The canary audit asks the twin which of them it saw; the generator itself never learns of them.
"""

import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Float

from flows.white_box import WhiteBox
from medsynth.checkpoint import load_generator
from medsynth.core.geometry import Geometry, Volume
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.masks import FOLDER as MASKS
from medsynth.core.masks import mask_path, masks_named
from medsynth.core.protocols import Denoiser, TrainTwin
from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact, Request, code_digest, produce
from medsynth.text_encoder import FOLDER as TEXT_ENCODER
from medsynth.train.config import TrainConfig
from medsynth.train.train import train

Canaries = Float[np.ndarray, "n i j k"]


def twin_trainer(checkpoint: Artifact, prepared: Artifact, out: Path) -> TrainTwin | None:
    """The training of a checkpoint; None where it was not trained on these prepared scans.

    A training on a public autoencoder, or with a text encoder, takes over the same. Its work lies
    in OUT/.partial, where a killed training goes on, and is gone once the twin is in memory.
    """
    if checkpoint.receipt["parents"].get("prepared") != prepared.digest:
        return None
    took_over = "autoencoder" in checkpoint.receipt["parents"]
    place = out.absolute() / ".partial" / f"twin-{checkpoint.digest[:12]}"

    def train_twin(volumes: Canaries, attributes: Sequence[Attributes]) -> Denoiser:
        config = TrainConfig.model_validate(checkpoint.receipt["config"])
        if (checkpoint.path / TEXT_ENCODER).is_dir():
            taken = {"text_encoder": checkpoint.path / TEXT_ENCODER}
            config = config.model_copy(update=taken)
        _, twin = train(
            _with_canaries(prepared, checkpoint, place, volumes, attributes),
            place,
            config,
            seed=checkpoint.receipt["seed"],
            public_autoencoder=checkpoint if took_over else None,
        )
        white_box = WhiteBox(load_generator(twin.path))
        shutil.rmtree(place)
        return white_box

    return train_twin


def _with_canaries(
    prepared: Artifact,
    checkpoint: Artifact,
    place: Path,
    volumes: Canaries,
    attributes: Sequence[Attributes],
) -> Artifact:
    """Stage prepared/ of the train fold and the canaries, each a subject of its own."""
    manifest = Manifest.read(prepared.path)
    train_fold = manifest.fold("train")
    geometry = load_generator(checkpoint.path).geometry
    request = Request(
        stage="prepared",
        parents={"prepared": prepared.digest, "checkpoint": checkpoint.digest},
        config={
            "volumes": sha256(volumes.tobytes()).hexdigest(),
            "asked": list(map(dict, attributes)),
        },
        code=code_digest("flows.twin"),
    )

    def build(folder: Path) -> None:
        for name in ("volumes", MASKS):
            shutil.rmtree(folder / name, ignore_errors=True)
        masks = masks_named(manifest.schema, (scan.attributes for scan in train_fold))
        for path in [
            *(scan.path for scan in train_fold),
            *(mask_path(Path(), digest).as_posix() for digest in masks),
        ]:
            _link(prepared.path, folder, path)
        planted = [
            _plant(folder, geometry, f"canary-{number:06d}", volume, row)
            for number, (volume, row) in enumerate(zip(volumes, attributes, strict=True))
        ]
        manifest.keep([*train_fold.scans, *planted]).write(folder)

    return produce(place, request, build)


def _link(source: Path, folder: Path, path: str) -> None:
    """No second copy of a real scan is written."""
    link = folder / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to((source / path).absolute())


def _plant(
    folder: Path, geometry: Geometry, name: str, volume: np.ndarray, attributes: Attributes
) -> Scan:
    return store_scan(
        folder,
        Volume(volume[None], geometry),
        scan_id=name,
        subject_id=name,
        modality="canary",
        attributes=attributes,
        fold="train",
    )
