"""A conditional GAN: noise and attribute tokens to an image in one pass.

Noise and attributes weigh the generator's first map and scale and shift every normalized layer
(Karras et al., "A Style-Based Generator Architecture", 2019). The discriminator is MONAI's
Regressor: residual, without norms, to one score of the whole scan (as in Huang et al., "The GAN
is dead; long live the GAN! A Modern GAN Baseline", 2024, section 3), with a projection of the
attributes on its last features (Miyato & Koyama, "cGANs with Projection Discriminator", 2018).
Both see a block of two voxels a side as channels, as our autoencoder does.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from monai.networks.nets.regressor import Regressor
from torch import Tensor, nn
from torch.nn import functional

from medsynth.models.autoencoder import from_patches, to_patches

_PATCH = 2


@dataclass(frozen=True)
class GanShape:
    """Sides and widths; after the first, each level of the generator doubles the sides and each
    of the discriminator halves them.
    """

    padded_shape: tuple[int, ...]
    token_width: int
    widths: tuple[int, ...]
    noise_dim: int
    style_dim: int
    discriminator_widths: tuple[int, ...]

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.padded_shape)

    @property
    def base(self) -> tuple[int, ...]:
        """Sides of the generator's coarsest level."""
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
        self.style = nn.Sequential(
            EvenLinear(shape.noise_dim + shape.token_width, shape.style_dim), nn.LeakyReLU(0.2),
            EvenLinear(shape.style_dim, shape.style_dim), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.start = nn.Parameter(torch.randn(1, first, *shape.base))
        self.weigh = EvenLinear(shape.style_dim, first)
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
        x = self.start * _beside(self.weigh(style), self.start)
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
        self.styles = nn.ModuleList(EvenLinear(style, 2 * width) for width in (inside, outside))
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
        gain, shift = _beside(self.styles[layer](style), x).chunk(2, dim=1)
        return functional.silu(self.norms[layer](x) * (1 + gain) + shift)


class Discriminator(nn.Module):
    """Images and flattened tokens to a score each: how real, and how real for these attributes."""

    def __init__(self, shape: GanShape) -> None:
        super().__init__()
        dims, widths = shape.spatial_dims, shape.discriminator_widths
        self.features = Regressor(
            (_PATCH**dims, *(side // _PATCH for side in shape.padded_shape)),
            widths[-1:],
            widths,
            strides=(1, *[2] * (len(widths) - 1)),
            act=("leakyrelu", {"negative_slope": 0.2}),
            norm=None,
        )
        self.score = nn.Linear(widths[-1], 1)
        self.projection = EvenLinear(shape.token_width, widths[-1])

    def forward(
        self, images: Float[Tensor, "n 1 *space"], condition: Float[Tensor, "n tokens dim"]
    ) -> Float[Tensor, " n"]:
        """Scores."""
        features = self.features(to_patches(images, _PATCH))
        direction = self.projection(condition.flatten(1)) / math.sqrt(features.shape[1])
        return torch.as_tensor(self.score(features)[:, 0] + (features * direction).sum(1))


def _beside(rows: Float[Tensor, "n c"], maps: Float[Tensor, "m d *space"]) -> Tensor:
    """Channels of rows, the same at every place of maps."""
    return rows.view(*rows.shape, *[1] * (maps.ndim - 2))


class EvenLinear(nn.Module):
    """A linear layer whose weights are of unit size, so that Adam's steps, which are of one size
    for all, do not undo in a few dozen what a layer hands on (Karras et al., "Progressive Growing
    of GANs", 2018, section 4.1).
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside))
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, x: Float[Tensor, "n inside"]) -> Float[Tensor, "n outside"]:
        """Rows as wide as those that come."""
        return functional.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)


def _convolution(dims: int, inside: int, outside: int, kernel: int = 3) -> nn.Module:
    layer = nn.Conv2d if dims == 2 else nn.Conv3d
    return layer(inside, outside, kernel, padding=kernel // 2)
