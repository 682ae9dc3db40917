"""Mapped networks as a generator of ours, or as an autoencoder that training can take."""

from collections.abc import Mapping

import numpy as np

from medsynth.checkpoint import Generator
from medsynth.convert.condition import cells_of, encoder_of, schema_of, trained_of
from medsynth.convert.config import ConvertConfig
from medsynth.convert.foreign import Kind
from medsynth.convert.mapping import Mapped
from medsynth.core.errors import UsageProblem
from medsynth.core.geometry import Geometry
from medsynth.models.control import hint_channels
from medsynth.models.imported import (
    ImportedAutoencoder,
    ImportedAutoencoderConfig,
    ImportedDenoiser,
    ImportedDenoiserConfig,
)
from medsynth.models.masks import MaskGrid
from medsynth.models.synthesizer import LatentScale, Synthesizer


def build_autoencoder(mapped: Mapped, config: ConvertConfig) -> ImportedAutoencoder:
    """The autoencoder with its weights; raises UsageProblem unless it sees one channel."""
    arguments = mapped.arguments
    if (arguments["in_channels"], arguments["out_channels"]) != (1, 1):
        raise UsageProblem(
            "an autoencoder must see scans of one channel and give them back, this one sees "
            f"{arguments['in_channels']} and gives {arguments['out_channels']}"
        )
    assert mapped.foreign.kind in ("AutoencoderKL", "VQVAE")
    shape = ImportedAutoencoderConfig(
        "AutoencoderKL" if mapped.foreign.kind == "AutoencoderKL" else "VQVAE",
        arguments,
        config.darkest,
        config.brightest,
    )
    network = ImportedAutoencoder(shape)
    mapped.fill(network.network)
    return network.eval()


def scale_of(autoencoder: ImportedAutoencoder, config: ConvertConfig) -> LatentScale:
    """One factor for all channels, as a mean and a standard deviation."""
    channels = autoencoder.config.latent_channels
    return LatentScale(np.zeros(channels), np.full(channels, 1 / config.scale_factor))


def build_denoiser(
    mapped: Mapped, control: Mapped | None, autoencoder: ImportedAutoencoder, config: ConvertConfig
) -> ImportedDenoiser:
    """The denoiser with its weights, and a ControlNet's inside.

    Raises UsageProblem where it does not fit the autoencoder, or the ControlNet does not fit it.
    """
    if mapped.arguments["spatial_dims"] != autoencoder.config.spatial_dims:
        raise UsageProblem("autoencoder and denoiser must both be 2D, or both 3D")
    try:
        shape = ImportedDenoiserConfig(
            mapped.arguments,
            autoencoder.config.latent_channels,
            config.num_timesteps,
            None if control is None else control.arguments,
        )
    except ValueError as error:
        raise UsageProblem(str(error)) from None
    if shape.num_numbers != len(config.attributes):
        raise UsageProblem(
            f"the denoiser reads {shape.num_numbers} numbers of a condition, but "
            f"convert.attributes tells of {len(config.attributes)}; each number needs its "
            "attribute, in order"
        )
    network = ImportedDenoiser(shape)
    mapped.fill(network.network)
    if control is not None and network.control is not None:
        require_shown(control, config)
        control.fill(network.control.network)
    return network.eval()


def require_shown(control: Mapped, config: ConvertConfig) -> None:
    """Raise UsageProblem where nobody told what a ControlNet was shown, or something else."""
    wanted = hint_channels(control.arguments)
    if config.mask is None:
        raise UsageProblem(
            f"convert.mask must tell what the ControlNet was shown: a picture of {wanted} channels"
        )
    if len(config.mask.table[0]) != wanted:
        raise UsageProblem(
            f"the ControlNet was shown a picture of {wanted} channels, but convert.mask makes one "
            f"of {len(config.mask.table[0])}; tell its numbers for each channel"
        )


def build_generator(
    autoencoder: ImportedAutoencoder, denoiser: ImportedDenoiser, config: ConvertConfig
) -> Generator:
    """A generator to draw from; raises UsageProblem where nobody told the scans' shape."""
    if config.shape is None:
        raise UsageProblem("convert.shape must tell the voxels of a scan along each axis")
    if (config.shape[2] == 1) != (autoencoder.config.spatial_dims == 2):
        raise UsageProblem(
            f"convert.shape must end in 1 for 2D networks alone, got {config.shape} for "
            f"{autoencoder.config.spatial_dims}D"
        )
    geometry = Geometry(config.shape, np.diag([*config.spacing, 1.0]))
    factor = autoencoder.config.factor
    grid = MaskGrid(config.shape, factor * denoiser.config.multiple, factor)
    trained = trained_of(config, grid)
    synthesizer = Synthesizer(
        autoencoder,
        encoder_of(config, trained, denoiser.config.control),
        denoiser,
        scale_of(autoencoder, config),
        grid.frame,
        schema_of(config),
        trained,
        config.objective,
    )
    return Generator(synthesizer, geometry, config.modality, cells_of(config.attributes))


def require_generator(kinds: Mapping[Kind, Mapped], config: ConvertConfig) -> None:
    """Raise UsageProblem where the networks, and what is told of them, make no generator."""
    encoders = {"AutoencoderKL", "VQVAE"} & set(kinds)
    if len(encoders) != 1:
        found = ", ".join(sorted(kinds)) or "none"
        raise UsageProblem(
            "one autoencoder must be given (AutoencoderKL or VQVAE), alone or with its "
            f"DiffusionModelUNet; found {found}. Put the files into one folder"
        )
    if "ControlNet" in kinds and "DiffusionModelUNet" not in kinds:
        raise UsageProblem(
            "a ControlNet must come with the DiffusionModelUNet that it steers; put its file into "
            "the same folder, or leave the ControlNet's out"
        )
    if config.mask is not None and "ControlNet" not in kinds:
        raise UsageProblem("convert.mask is a ControlNet's; give its file, or leave the mask out")
