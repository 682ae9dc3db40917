"""The autoencoder: images to latents of a quarter of each side, and back.

Reference: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022;
the network is MONAI's AutoencoderKL without attention.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from monai.networks.nets.autoencoderkl import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the network.

    `patch` voxels of each side become channels first, which spares all work at full resolution;
    each level after the first then halves the sides.
    """

    spatial_dims: int
    channels: tuple[int, ...] = (32, 64)
    patch: int = 2
    latent_channels: int = 4
    num_res_blocks: int = 1
    norm_groups: int = 8

    @property
    def factor(self) -> int:
        """How many voxels of a side share one latent."""
        return int(self.patch * 2 ** (len(self.channels) - 1))


class Autoencoder(nn.Module):
    """Images (n, 1, ...) in [-1, 1] to a normal distribution over latents, and back."""

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

    def encode(self, images: Float[Tensor, "n 1 *space"]) -> Float[Tensor, "n c *latent"]:
        """The mean latents."""
        mean: Tensor = self.network.encode(to_patches(images, self.config.patch))[0]
        return mean

    def decode(self, latents: Float[Tensor, "n c *latent"]) -> Float[Tensor, "n 1 *space"]:
        """Images of latents."""
        return from_patches(self.network.decode(latents), self.config.patch)

    def forward(
        self, images: Float[Tensor, "n 1 *space"], noise: Float[Tensor, "n c *latent"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction from the latent that standard normal noise draws, its mean and its sd."""
        mean, sd = self.network.encode(to_patches(images, self.config.patch))
        return self.decode(mean + sd * noise), mean, sd


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


@dataclass(frozen=True)
class ReconstructionLoss:
    """L1 + the worst voxels + edges at two scales + a small Kullback-Leibler term.

    Small lesions are a hundredth of an image: the mean forgets them, the worst `hard_share` of
    the voxels and their edges do not.
    """

    edge_weight: float = 1.0
    hard_weight: float = 0.25
    hard_share: float = 0.05
    kl_weight: float = 1e-3

    def __call__(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`loss` and its parts, without the KL term."""
        error = (output - target).abs()
        count = max(1, int(self.hard_share * error[0].numel()))
        l1, hard = error.mean(), error.flatten(1).topk(count, dim=1).values.mean()
        edges = edge_error(output, target) + edge_error(halve(output), halve(target))
        loss = l1 + self.hard_weight * hard + self.edge_weight * edges
        return {"loss": loss, "l1": l1, "hard": hard, "edges": edges}

    def with_kl(self, parts: dict[str, Tensor], mean: Tensor, sd: Tensor) -> dict[str, Tensor]:
        """The parts with the mean KL divergence from N(0, 1) added."""
        variance = sd.square()
        kl = 0.5 * (mean.square() + variance - 1 - variance.clamp_min(1e-12).log()).mean()
        return parts | {"loss": parts["loss"] + self.kl_weight * kl, "kl": kl}


def edge_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the forward differences, summed over the axes."""
    difference = output - target
    axes = range(2, difference.ndim)
    return torch.stack([difference.diff(dim=axis).abs().mean() for axis in axes]).sum()


def halve(images: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *half"]:
    """Images averaged over blocks of two voxels a side."""
    pool = functional.avg_pool2d if images.ndim == 4 else functional.avg_pool3d
    return pool(images, 2)
