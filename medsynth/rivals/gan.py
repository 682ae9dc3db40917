"""A conditional GAN: noise and attribute tokens to an image in one pass.

The generator scales and shifts every normalized layer by noise and attributes (Karras et al.,
"A Style-Based Generator Architecture", 2019). The discriminator is MONAI's PatchDiscriminator
with a projection of the attributes on its last features (Miyato & Koyama, "cGANs with Projection
Discriminator", 2018); how far the batch differs at each place is one more channel (Karras et al.,
"Progressive Growing of GANs", 2018, section 3). Both see a block of two voxels a side as channels,
as our autoencoder does.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional

from medsynth.models.autoencoder import from_patches, to_patches

_PATCH = 2


@dataclass(frozen=True)
class GanShape:
    """Sides and widths; each level after the first doubles the sides."""

    padded_shape: tuple[int, ...]
    token_width: int
    widths: tuple[int, ...]
    noise_dim: int
    style_dim: int
    discriminator_width: int
    discriminator_layers: int

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.padded_shape)

    @property
    def base(self) -> tuple[int, ...]:
        """Sides of the coarsest level."""
        factor = gan_multiple(self.widths)
        return tuple(side // factor for side in self.padded_shape)


def gan_multiple(widths: tuple[int, ...]) -> int:
    """What a scan's sides must be multiples of."""
    return int(_PATCH * 2 ** (len(widths) - 1))


class Generator(nn.Module):
    """Noise (n, noise_dim) and flattened tokens to images in [-1, 1]."""

    def __init__(self, shape: GanShape) -> None:
        super().__init__()
        self.shape = shape
        dims, first = shape.spatial_dims, shape.widths[0]
        inputs = shape.noise_dim + shape.token_width
        self.style = nn.Sequential(
            nn.Linear(inputs, shape.style_dim), nn.SiLU(),
            nn.Linear(shape.style_dim, shape.style_dim), nn.SiLU(),
        )  # fmt: skip
        self.start = nn.Parameter(torch.randn(1, first, *shape.base))
        self.blocks = nn.ModuleList(
            StyledBlock(dims, before, width, shape.style_dim, grows=level > 0)
            for level, (before, width) in enumerate(
                zip((first, *shape.widths[:-1]), shape.widths, strict=True)
            )
        )
        last = shape.widths[-1]
        self.out = nn.Sequential(
            nn.GroupNorm(8, last), nn.SiLU(), _convolution(dims, last, _PATCH**dims)
        )

    def forward(
        self, noise: Float[Tensor, "n noise"], condition: Float[Tensor, "n tokens dim"]
    ) -> Float[Tensor, "n 1 *space"]:
        """One image per row."""
        style = self.style(torch.cat([noise, condition.flatten(1)], dim=1))
        x = self.start.expand(len(noise), *self.start.shape[1:])
        for block in self.blocks:
            x = block(x, style)
        return from_patches(self.out(x).float().tanh(), _PATCH)


class StyledBlock(nn.Module):
    """A residual block whose normalized layers are scaled and shifted by the style."""

    def __init__(self, dims: int, inside: int, outside: int, style: int, *, grows: bool) -> None:
        super().__init__()
        self.grows = grows
        self.norms = nn.ModuleList(
            nn.GroupNorm(8, width, affine=False) for width in (inside, outside)
        )
        self.styles = nn.ModuleList(nn.Linear(style, 2 * width) for width in (inside, outside))
        self.layers = nn.ModuleList(
            [_convolution(dims, inside, outside), _convolution(dims, outside, outside)]
        )
        self.skip = _convolution(dims, inside, outside, kernel=1)

    def forward(
        self, x: Float[Tensor, "n c *space"], style: Float[Tensor, "n style"]
    ) -> Float[Tensor, "n d *wider"]:
        """Twice the sides where the block grows."""
        h = self._styled(0, x, style)
        if self.grows:
            h, x = (functional.interpolate(y, scale_factor=2.0) for y in (h, x))
        h = self.layers[0](h)
        h = self.layers[1](self._styled(1, h, style))
        return torch.as_tensor(self.skip(x) + h)

    def _styled(self, layer: int, x: Tensor, style: Tensor) -> Tensor:
        wide = self.styles[layer](style)
        gain, shift = wide.view(*wide.shape, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        return functional.silu(self.norms[layer](x) * (1 + gain) + shift)


class Discriminator(nn.Module):
    """Images and flattened tokens to a logit per patch: real, and real for these attributes."""

    def __init__(self, shape: GanShape) -> None:
        super().__init__()
        dims, width = shape.spatial_dims, shape.discriminator_width
        self.patches = PatchDiscriminator(
            dims,
            channels=width,
            in_channels=_PATCH**dims + 1,
            num_layers_d=shape.discriminator_layers,
            kernel_size=3,
            norm=("group", {"num_groups": 8}),
        )
        self.projection = nn.Linear(shape.token_width, width * 2**shape.discriminator_layers)

    def forward(
        self, images: Float[Tensor, "n 1 *space"], condition: Float[Tensor, "n tokens dim"]
    ) -> Float[Tensor, "n 1 *patches"]:
        """Logits."""
        patches = to_patches(images, _PATCH)
        *_, features, logits = self.patches(torch.cat([patches, _spread(patches)], dim=1))
        direction = self.projection(condition.flatten(1))
        agreed = (features.flatten(2).mean(2) * direction).mean(1)
        return torch.as_tensor(logits + agreed.view(-1, *[1] * (logits.ndim - 1)))


def _spread(patches: Float[Tensor, "n c *coarse"]) -> Float[Tensor, "n 1 *coarse"]:
    """How far the batch differs at each place, so that scans all alike are seen through."""
    variance = patches.var(dim=0, correction=0, keepdim=True).mean(dim=1, keepdim=True)
    return (variance + 1e-6).sqrt().expand(len(patches), *[-1] * (patches.ndim - 1))


def _convolution(dims: int, inside: int, outside: int, kernel: int = 3) -> nn.Module:
    layer = nn.Conv2d if dims == 2 else nn.Conv3d
    return layer(inside, outside, kernel, padding=kernel // 2)
