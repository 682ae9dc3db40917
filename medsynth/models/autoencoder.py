"""The autoencoder: images to latents of a quarter or an eighth of each side, and back.

Two kinds with one shape: "kl" draws latents from a normal distribution (Rombach et al.,
"High-Resolution Image Synthesis with Latent Diffusion Models", 2022), "vq" rounds them to the
nearest of a few hundred learned codes (van den Oord et al., "Neural Discrete Representation
Learning", 2017). With cosines a "kl" starts as a cosine transform that the network adds to,
instead of from noise. The network is MONAI's AutoencoderKL without attention, so that a latent
depends on its neighborhood and on norms' statistics only, and volumes can be decoded in tiles
(tiling.py).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from monai.networks.nets.autoencoderkl import AutoencoderKL
from torch import Tensor, nn

from medsynth.models.codebook import Codebook
from medsynth.models.cosines import Cosines

Kind = Literal["kl", "vq"]
_QUIET = -8.0
"""Log-variance of latents beside fresh cosines: below that of any cosine of a scan."""


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the network.

    `patch` voxels of each side become channels first, which spares all work at full resolution;
    each level after the first then halves the sides. `num_codes` is for kind "vq" alone.
    """

    spatial_dims: int
    channels: tuple[int, ...] = (32, 64)
    patch: int = 2
    latent_channels: int = 4
    num_res_blocks: int = 1
    norm_groups: int = 8
    kind: Kind = "kl"
    num_codes: int = 512
    has_cosines: bool = False

    def __post_init__(self) -> None:
        if self.spatial_dims not in (2, 3):
            raise ValueError(f"an autoencoder has 2 or 3 spatial dims, got {self.spatial_dims}")
        if self.factor not in (2, 4, 8, 16):
            raise ValueError(
                f"patch {self.patch} and {len(self.channels)} levels make a factor of "
                f"{self.factor}; it must be 2, 4, 8 or 16"
            )
        if any(width % self.norm_groups for width in self.channels):
            raise ValueError(
                f"channels must be multiples of norm_groups {self.norm_groups}, got {self.channels}"
            )
        if self.kind == "vq" and self.has_cosines:
            raise ValueError("only an autoencoder of kind kl can begin with cosines, got vq")
        if self.kind == "vq" and self.num_codes < 2:
            raise ValueError(f"a codebook needs at least 2 codes, got {self.num_codes}")

    @property
    def factor(self) -> int:
        """How many voxels of a side share one latent."""
        return int(self.patch * 2 ** (len(self.channels) - 1))


class Autoencoder(nn.Module):
    """Images (n, 1, ...) in [-1, 1] to latents, and back."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.network = AutoencoderKL(
            spatial_dims=config.spatial_dims,
            in_channels=config.patch**config.spatial_dims,
            out_channels=config.patch**config.spatial_dims,
            channels=config.channels,
            latent_channels=config.latent_channels,
            num_res_blocks=(config.num_res_blocks,) * len(config.channels),
            attention_levels=(False,) * len(config.channels),
            norm_num_groups=config.norm_groups,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        self.codebook: Codebook | None = None
        if config.kind == "vq":
            # Codes have no spread, and weights without a gradient trouble distributed training.
            del self.network.quant_conv_log_sigma
            self.codebook = Codebook(config.spatial_dims, config.num_codes, config.latent_channels)
        self.cosines: Cosines | None = None
        if config.has_cosines:
            self.cosines = Cosines(config.spatial_dims, config.factor, config.latent_channels)
            self._be_silent()

    @torch.no_grad()
    def _be_silent(self) -> None:
        """Let the network add nothing yet, and hardly any noise."""
        layers = self.network.quant_conv_mu, self.network.decoder.blocks[-1]
        for parameter in (p for layer in layers for p in layer.parameters()):
            parameter.zero_()
        for name, parameter in self.network.quant_conv_log_sigma.named_parameters():
            parameter.fill_(_QUIET if name.endswith("bias") else 0.0)

    def latent_sides(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Sides of the latents of images with these sides."""
        return tuple(side // self.config.factor for side in sides)

    def encode(self, images: Float[Tensor, "n 1 *space"]) -> Float[Tensor, "n c *latent"]:
        """The latents that diffusion learns: means, or what comes before rounding to codes."""
        features = self.network.encoder(to_patches(images, self.config.patch))
        latents: Tensor = self.network.quant_conv_mu(features)
        return latents if self.cosines is None else latents + self.cosines.down(images)

    def decode(self, latents: Float[Tensor, "n c *latent"]) -> Float[Tensor, "n 1 *space"]:
        """Images of latents; codes are the nearest ones."""
        if self.codebook is not None:
            latents = self.codebook.nearest(latents)
        return self._decoded(latents)

    def _decoded(self, latents: Float[Tensor, "n c *latent"]) -> Float[Tensor, "n 1 *space"]:
        images = from_patches(self.network.decode(latents), self.config.patch)
        return images if self.cosines is None else images + self.cosines.up(latents)

    def forward(
        self,
        images: Float[Tensor, "n 1 *space"],
        noise: Float[Tensor, "n c *latent"],
        further: Float[Tensor, " n"],
    ) -> tuple[Float[Tensor, "n 1 *space"], Float[Tensor, ""]]:
        """Reconstruction, and what keeps the latents in bounds: divergence or commitment.

        Standard normal noise draws the latents of kind "kl", whose spread is `further` wider, in
        shares of each channel's own: what is decoded later is not without error either (Zheng et
        al., "Diffusion Transformers with Representation Autoencoders", 2025). Codes need none.
        """
        if self.codebook is not None:
            latents, regularizer = self.codebook(self.encode(images))
        else:
            patches = to_patches(images, self.config.patch)
            mean, sd = (part.float() for part in self.network.encode(patches))
            if self.cosines is not None:
                mean = mean + self.cosines.down(images)
            regularizer = divergence(mean, sd)
            own = mean.detach().transpose(0, 1).flatten(1).std(dim=1)
            shape = (-1, *[1] * (mean.ndim - 1))
            latents = mean + (sd + further.view(shape) * own.view(1, *shape[:-1])) * noise
        return self._decoded(latents), regularizer


def divergence(
    mean: Float[Tensor, "n c *latent"], sd: Float[Tensor, "n c *latent"]
) -> Float[Tensor, ""]:
    """Mean Kullback-Leibler divergence of normal latents from N(0, 1), in nats per latent."""
    variance = sd.square()
    return 0.5 * (mean.square() + variance - 1 - variance.clamp_min(1e-12).log()).mean()


def to_patches(images: Float[Tensor, "n 1 *space"], patch: int) -> Float[Tensor, "n c *coarse"]:
    """Every block of patch voxels a side as the channels of one coarse voxel."""
    dims = images.ndim - 2
    split = [n for side in images.shape[2:] for n in (side // patch, patch)]
    blocks = images.reshape(len(images), *split)
    order = (0, *range(2, 2 * dims + 1, 2), *range(1, 2 * dims, 2))
    return blocks.permute(order).flatten(1, dims)


def from_patches(coarse: Float[Tensor, "n c *coarse"], patch: int) -> Float[Tensor, "n 1 *space"]:
    """The images of which `to_patches` made these channels."""
    sides = coarse.shape[2:]
    blocks = coarse.reshape(len(coarse), *[patch] * len(sides), *sides)
    dims = range(1, len(sides) + 1)
    pairs = [axis for dim in dims for axis in (dim + len(sides), dim)]
    return blocks.permute(0, *pairs).reshape(len(coarse), 1, *(side * patch for side in sides))
