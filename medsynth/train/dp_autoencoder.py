"""The autoencoder of a training on somebody else's, with its latent scale.

A private training needs one: trained on the same scans without privacy, an autoencoder would give
away what the denoiser's noise hides.
"""

from dataclasses import dataclass

from medsynth.checkpoint import autoencoder_of, read_json, read_weights
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Artifact
from medsynth.models.autoencoder import AutoencoderConfig
from medsynth.models.imported import AnyAutoencoder, ImportedAutoencoderConfig
from medsynth.models.synthesizer import LatentScale
from medsynth.train.latents import scale_of


@dataclass(frozen=True, eq=False)
class PublicAutoencoder:
    """A network, and what its own training found latents to be scaled by."""

    network: AnyAutoencoder
    scale: LatentScale
    digest: str


def read_public_autoencoder(
    checkpoint: Artifact, shape: AutoencoderConfig, prepared: Artifact
) -> PublicAutoencoder:
    """The autoencoder of a checkpoint whose scans, its giver says, need no protection here.

    Raises UsageProblem where it is no checkpoint, makes latents of another shape, or learned from
    these scans.
    """
    if checkpoint.stage != "checkpoint":
        raise UsageProblem(f"a public autoencoder must be a checkpoint, got {checkpoint.stage}")
    fields = read_json(checkpoint.path / "generator.json")
    if fields["prepared_digest"] == prepared.digest:
        raise UsageProblem("a public autoencoder must not be trained on the private scans; it was")
    network = autoencoder_of(fields["autoencoder"])
    wanted, got = _latents(shape), _latents(network.config)
    if wanted != got:
        raise UsageProblem(
            f"a public autoencoder must have the latents that the config asks for: {wanted}; "
            f"this one has {got}"
        )
    read_weights(checkpoint.path / "autoencoder.safetensors", network)
    scale = scale_of({"mean": fields["latent_mean"], "sd": fields["latent_sd"]})
    return PublicAutoencoder(network.eval(), scale, checkpoint.digest)


def _latents(shape: AutoencoderConfig | ImportedAutoencoderConfig) -> str:
    """What decides whether a denoiser can stand on them."""
    return f"{shape.spatial_dims}D, {shape.latent_channels} channels, factor {shape.factor}"
