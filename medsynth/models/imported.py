"""Networks that somebody else trained, as our generator uses them.

Autoencoder, denoiser and condition stand where our own stand; their networks are MONAI's, built
from the arguments that they were trained with. The condition is a few plain numbers, as in Pinaya
et al., "Brain Imaging Generation with Latent Diffusion Models", 2022.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.nets.vqvae import VQVAE
from torch import Tensor, nn

from medsynth.core.schema import AttributeSchema
from medsynth.models.autoencoder import Autoencoder
from medsynth.models.conditioning import PRESENT, AttributeBatch
from medsynth.models.precision import dtype_of
from medsynth.models.trained import Trained


@dataclass(frozen=True)
class ImportedAutoencoderConfig:
    """Kind and arguments of MONAI's network, and what it sees for the darkest and brightest."""

    kind: Literal["AutoencoderKL", "VQVAE"]
    arguments: Mapping[str, Any]
    darkest: float = 0.0
    brightest: float = 1.0

    @property
    def spatial_dims(self) -> int:
        """2 for images, 3 for volumes."""
        return int(self.arguments["spatial_dims"])

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        name = "latent_channels" if self.kind == "AutoencoderKL" else "embedding_dim"
        return int(self.arguments[name])

    @property
    def factor(self) -> int:
        """How many voxels of a side share one latent."""
        if self.kind == "VQVAE":
            return math.prod(stride for stride, *_ in self.arguments["downsample_parameters"])
        return int(2 ** (len(self.arguments["channels"]) - 1))


class ImportedAutoencoder(nn.Module):
    """Images (n, 1, ...) in [-1, 1] to latents, and back."""

    def __init__(self, config: ImportedAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        if config.kind == "AutoencoderKL":
            self.network = AutoencoderKL(**config.arguments, use_flash_attention=True)
        else:
            self.network = VQVAE(**config.arguments)

    def encode(self, images: Float[Tensor, "n 1 *space"]) -> Float[Tensor, "n c *latent"]:
        """Mean latents, or the nearest codes."""
        low, high = self.config.darkest, self.config.brightest
        seen = low + (images + 1) / 2 * (high - low)
        if self.config.kind == "AutoencoderKL":
            mean: Tensor = self.network.encode(seen)[0]
            return mean
        codes: Tensor = self.network.encode_stage_2_inputs(seen)
        return codes

    def decode(self, latents: Float[Tensor, "n c *latent"]) -> Float[Tensor, "n 1 *space"]:
        """Images of latents; codes are the nearest ones."""
        low, high = self.config.darkest, self.config.brightest
        seen: Tensor = self.network.decode_stage_2_outputs(latents)
        return (seen - low) / (high - low) * 2 - 1


AnyAutoencoder = Autoencoder | ImportedAutoencoder
"""One of our own, or somebody else's."""


@dataclass(frozen=True)
class ImportedDenoiserConfig:
    """Arguments of MONAI's network, the latents' channels, and the timesteps of its schedule."""

    arguments: Mapping[str, Any]
    latent_channels: int
    num_timesteps: int = 1000

    def __post_init__(self) -> None:
        if self.arguments["in_channels"] < self.latent_channels:
            raise ValueError(
                f"the denoiser must read latents of {self.latent_channels} channels, "
                f"but it reads {self.arguments['in_channels']}"
            )
        if self.arguments["out_channels"] != self.latent_channels:
            raise ValueError(
                f"the denoiser must write latents of {self.latent_channels} channels, "
                f"but it writes {self.arguments['out_channels']}"
            )
        if len(self._counts) > 1 or (self.num_classes and self.num_numbers != 1):
            raise ValueError(
                "the denoiser must read one condition: by cross-attention, beside the latents, or "
                f"as one class; it reads {sorted(self._counts)} numbers in several ways"
            )

    @property
    def _counts(self) -> set[int]:
        beside = self.arguments["in_channels"] - self.latent_channels
        counts = (beside, self.arguments["cross_attention_dim"] or 0, int(bool(self.num_classes)))
        return {count for count in counts if count}

    @property
    def num_numbers(self) -> int:
        """Numbers of the condition."""
        return max(self._counts, default=0)

    @property
    def num_classes(self) -> int:
        """Classes that it was trained on; 0 where its condition is no class."""
        return self.arguments["num_class_embeds"] or 0

    @property
    def knows_spans(self) -> bool:
        """Never: it was not distilled to leap."""
        return False

    @property
    def multiple(self) -> int:
        """What every side of the latents must be divisible by."""
        return int(2 ** (len(self.arguments["channels"]) - 1))


class ImportedDenoiser(nn.Module):
    """What the network predicts of latents; it reads the condition in every way it was made to."""

    def __init__(self, config: ImportedDenoiserConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DiffusionModelUNet(**config.arguments, use_flash_attention=True)

    def forward(
        self,
        latents: Float[Tensor, "n c *space"],
        t: Float[Tensor, " n"],
        condition: Float[Tensor, "n 1 numbers"],
        span: Float[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n c *space"]:
        """The prediction at times t in [0, 1]: timestep k, counted from 0, is (k + 1) / count.

        It knows no spans.
        """
        steps = ((t * self.config.num_timesteps).round() - 1).clamp_min(0)
        arguments, seen = self.config.arguments, latents
        if arguments["in_channels"] > self.config.latent_channels:
            numbers = condition[:, 0].view(*condition[:, 0].shape, *[1] * (latents.ndim - 2))
            seen = torch.cat([latents, numbers.expand(-1, -1, *latents.shape[2:])], dim=1)
        output: Tensor = self.network(
            seen.to(dtype_of(self)),
            steps,
            context=condition.to(dtype_of(self)) if arguments["with_conditioning"] else None,
            class_labels=condition[:, 0, 0].round().long() if self.config.num_classes else None,
        )
        return output.to(torch.float32)


class ContextEncoder(nn.Module):
    """A batch of attributes to one token, a number for each; `unasked` stands for not asked."""

    def __init__(self, schema: AttributeSchema, trained: Trained) -> None:
        super().__init__()
        width = sum(1 if a.is_numeric else len(trained[a.name].words) for a in schema)
        self.register_buffer("of_columns", torch.zeros(width, len(schema)))
        self.register_buffer("unasked", torch.zeros(len(schema)))

    def forward(self, batch: AttributeBatch) -> Float[Tensor, "n 1 numbers"]:
        """The numbers asked for, as the denoiser was trained to read them."""
        of_columns, unasked = self.get_buffer("of_columns"), self.get_buffer("unasked")
        numbers = torch.where(batch.states == PRESENT, batch.values @ of_columns, unasked)
        return numbers.unsqueeze(1)
