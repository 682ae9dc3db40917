"""The autoencoder of a private training: somebody else's, with its latent scale.

Trained on the same scans without privacy, it would give away what the denoiser's noise hides.
"""

from dataclasses import asdict, dataclass

from medsynth.checkpoint import read_json, read_weights
from medsynth.core.errors import UsageProblem
from medsynth.core.stage import Artifact
from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.synthesizer import LatentScale
from medsynth.train.latents import scale_of


@dataclass(frozen=True, eq=False)
class PublicAutoencoder:
    """A network, and what its own training found latents to be scaled by."""

    network: Autoencoder
    scale: LatentScale
    digest: str


def read_public_autoencoder(
    checkpoint: Artifact, shape: AutoencoderConfig, prepared: Artifact
) -> PublicAutoencoder:
    """The autoencoder of a checkpoint whose scans, its giver says, need no protection here.

    Raises UsageProblem where it is no checkpoint, has another shape, or learned from these scans.
    """
    if checkpoint.stage != "checkpoint":
        raise UsageProblem(f"a public autoencoder must be a checkpoint, got {checkpoint.stage}")
    fields = read_json(checkpoint.path / "generator.json")
    if fields["prepared_digest"] == prepared.digest:
        raise UsageProblem("a public autoencoder must not be trained on the private scans; it was")
    if fields["autoencoder"] != asdict(shape):
        raise UsageProblem(
            "a public autoencoder must have the shape that the config asks for; "
            f"config {asdict(shape)}, checkpoint {fields['autoencoder']}"
        )
    network = Autoencoder(shape)
    read_weights(checkpoint.path / "autoencoder.safetensors", network)
    scale = scale_of({"mean": fields["latent_mean"], "sd": fields["latent_sd"]})
    return PublicAutoencoder(network.eval(), scale, checkpoint.digest)
