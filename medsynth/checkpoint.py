"""A trained generator as a folder of safetensors and one JSON file, and back.

`generator.json` holds everything but weights: shapes of the networks, schema, what training saw
of each attribute, its cells, latent statistics, geometry. Nothing is ever unpickled.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import nn

from medsynth.core.errors import StaleInput, UsageProblem
from medsynth.core.geometry import Geometry
from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.cells import CellTable
from medsynth.models.conditioning import ConditionEncoder
from medsynth.models.denoiser import Denoiser, DenoiserConfig
from medsynth.models.frame import Frame
from medsynth.models.imported import (
    AnyAutoencoder,
    ContextEncoder,
    ImportedAutoencoder,
    ImportedAutoencoderConfig,
    ImportedDenoiser,
    ImportedDenoiserConfig,
)
from medsynth.models.masks import Masks
from medsynth.models.objective import Objective
from medsynth.models.precision import Precision, pack, unpack
from medsynth.models.schedule import NoiseSchedule
from medsynth.models.synthesizer import LatentScale, SamplerConfig, Synthesizer
from medsynth.models.trained import Trained, TrainedAttribute
from medsynth.text_encoder import store_text_encoder, stored_text_encoder

FORMAT = "medsynth-generator-2"
BATCH_VOXELS = 32 * 64 * 64
"""Voxels of one micro-batch of the sampler; its size is a function of the geometry alone."""


@dataclass(frozen=True, eq=False)
class Generator:
    """A generator with what its users must know: schema, geometry, modality, cells."""

    synthesizer: Synthesizer
    geometry: Geometry
    modality: str
    cells: CellTable
    precision: Precision = "fp32"
    """Of the autoencoder's and denoiser's stored weights."""

    @property
    def schema(self) -> AttributeSchema:
        """The attributes that may be asked for."""
        return self.synthesizer.schema

    @property
    def batch(self) -> int:
        """Scans of one micro-batch."""
        return max(1, min(32, BATCH_VOXELS // math.prod(self.geometry.spatial_shape)))

    @property
    def tiles(self) -> tuple[int, ...] | None:
        """Sides of the tiles' cores that volumes are decoded in, in latents; `None` is whole."""
        return self.synthesizer.tiles(self.batch)

    def planned_with(self, free_bytes: int) -> "Generator":
        """The same generator, whose tiles are planned as where so much memory is free."""
        return replace(self, synthesizer=replace(self.synthesizer, free_bytes=free_bytes))

    def with_masks(self, masks: Masks) -> "Generator":
        """The same generator, which can be asked for these masks by their digests."""
        return replace(self, synthesizer=replace(self.synthesizer, masks=masks))

    def round_trip(self, volumes: Float[np.ndarray, "n i j k"]) -> Float[np.ndarray, "n i j k"]:
        """Volumes as the autoencoder gives them back."""
        return self.synthesizer.round_trip(volumes, batch=self.batch)

    def draw(
        self,
        requests: Sequence[Attributes],
        indices: Sequence[int],
        *,
        seed: int,
        how: SamplerConfig | None = None,
    ) -> Float[np.ndarray, "n i j k"]:
        """One scan in [0, 1] per request, from noise that (seed, index) alone decides.

        Raises ValueError, naming the attribute, for a value that training never saw.
        """
        return self.synthesizer.draw(requests, indices, seed, self._fixed(how))

    def trace(
        self,
        requests: Sequence[Attributes],
        indices: Sequence[int],
        *,
        seed: int,
        how: SamplerConfig | None = None,
        num_states: int,
    ) -> Float[np.ndarray, "n states i j k"]:
        """How each scan of `draw` comes about: images told on the way, and last the scan."""
        fixed = self._fixed(how)
        return self.synthesizer.trace(requests, indices, seed, fixed, num_states=num_states)

    def _fixed(self, how: SamplerConfig | None) -> SamplerConfig:
        return replace(how or SamplerConfig(), batch=self.batch)


def save_generator(folder: Path, generator: Generator, *, prepared_digest: str) -> None:
    """Write the networks, an encoder of texts among them, and generator.json into a folder."""
    ours = generator.synthesizer
    write_weights(folder / "encoder.safetensors", ours.encoder)
    for name in ("autoencoder", "denoiser"):
        write_weights(folder / f"{name}.safetensors", getattr(ours, name), generator.precision)
    fields = {
        "format": FORMAT,
        "precision": generator.precision,
        "prepared_digest": prepared_digest,
        "modality": generator.modality,
        "spatial_shape": generator.geometry.spatial_shape,
        "affine": generator.geometry.affine.tolist(),
        "multiple": ours.frame.multiple,
        "autoencoder": asdict(ours.autoencoder.config),
        "denoiser": asdict(ours.denoiser.config),
        "objective": asdict(ours.objective),
        "latent_mean": ours.scale.mean.tolist(),
        "latent_sd": ours.scale.sd.tolist(),
        "schema": json.loads(ours.schema.to_json()),
        "text_encoder": store_text_encoder(folder, ours.texts),
        "trained": {name: asdict(seen) for name, seen in ours.trained.items()},
        "cells": asdict(generator.cells),
    }
    (folder / "generator.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")


def save_autoencoder(folder: Path, autoencoder: AnyAutoencoder, scale: LatentScale) -> None:
    """Write an autoencoder that has no denoiser yet, with its latent scale, into a stage folder."""
    write_weights(folder / "autoencoder.safetensors", autoencoder)
    fields = {
        "format": FORMAT,
        "prepared_digest": "",
        "autoencoder": asdict(autoencoder.config),
        "latent_mean": scale.mean.tolist(),
        "latent_sd": scale.sd.tolist(),
    }
    (folder / "generator.json").write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")


def has_denoiser(folder: Path) -> bool:
    """Whether scans can be drawn from a checkpoint folder; an autoencoder alone draws none."""
    return "denoiser" in read_json(folder / "generator.json")


def load_generator(folder: Path) -> Generator:
    """The generator of a checkpoint folder, on a GPU where there is one."""
    fields = read_json(folder / "generator.json")
    if fields.get("format") != FORMAT:
        raise StaleInput(f"a checkpoint must be of format {FORMAT}; train it again")
    if "denoiser" not in fields:
        raise UsageProblem(
            "this checkpoint holds an autoencoder alone; train a denoiser for it: "
            "`medsynth train --public-autoencoder`"
        )
    geometry = Geometry(fields["spatial_shape"], np.array(fields["affine"]))
    cells = CellTable.from_json(fields["cells"])
    return Generator(
        _synthesizer(folder, fields), geometry, fields["modality"], cells, _precision(fields)
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object whose lists come as the tuples that frozen classes hold."""
    fields: dict[str, Any] = json.loads(path.read_text(), object_hook=_with_tuples)
    return fields


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def _precision(fields: dict[str, Any]) -> Precision:
    """Checkpoints from before there was a choice are fp32."""
    precision: Precision = fields.get("precision", "fp32")
    return precision


def _synthesizer(folder: Path, fields: dict[str, Any]) -> Synthesizer:
    schema = AttributeSchema.from_json(json.dumps(fields["schema"]))
    trained = {name: TrainedAttribute(**seen) for name, seen in fields["trained"].items()}
    encoder, denoiser = _denoiser_of(fields["denoiser"], schema, trained)
    synthesizer = Synthesizer(
        autoencoder=autoencoder_of(fields["autoencoder"]),
        encoder=encoder,
        denoiser=denoiser,
        scale=LatentScale(np.array(fields["latent_mean"]), np.array(fields["latent_sd"])),
        frame=Frame(fields["spatial_shape"], fields["multiple"]),
        schema=schema,
        trained=trained,
        objective=_objective(fields["objective"]),
        texts=stored_text_encoder(folder, fields.get("text_encoder", ""), best_device()),
    )
    if _precision(fields) == "bf16":
        for network in (synthesizer.autoencoder, synthesizer.denoiser):
            network.to(torch.bfloat16)
    for name in ("autoencoder", "encoder", "denoiser"):
        read_weights(folder / f"{name}.safetensors", getattr(synthesizer, name))
    device = best_device()
    return replace(synthesizer, device=device, free_bytes=free_bytes(device))


def autoencoder_of(fields: dict[str, Any]) -> AnyAutoencoder:
    """The autoencoder of a config as JSON holds it, our own or an imported one, without weights."""
    if "arguments" in fields:
        return ImportedAutoencoder(ImportedAutoencoderConfig(**fields))
    return Autoencoder(AutoencoderConfig(**fields))


def _denoiser_of(
    fields: dict[str, Any], schema: AttributeSchema, trained: Trained
) -> tuple[ConditionEncoder | ContextEncoder, Denoiser | ImportedDenoiser]:
    """A denoiser and what makes its condition, without weights."""
    if "arguments" in fields:
        imported = ImportedDenoiserConfig(**fields)
        return ContextEncoder(schema, trained, imported.control), ImportedDenoiser(imported)
    config = DenoiserConfig(**fields)
    return ConditionEncoder(schema, trained, config.token_dim), Denoiser(config)


def _objective(fields: dict[str, Any]) -> Objective:
    return Objective(**fields | {"schedule": NoiseSchedule(**fields["schedule"])})


def best_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def write_weights(path: Path, network: nn.Module, precision: Precision = "fp32") -> None:
    """Every tensor of a network as safetensors."""
    save_file(pack(network, precision), path)


def read_weights(path: Path, network: nn.Module) -> None:
    """Fill a network with exactly the tensors that `write_weights` wrote."""
    network.load_state_dict(unpack(load_file(path)), strict=True)
