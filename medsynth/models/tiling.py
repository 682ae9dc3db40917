"""Encoding and decoding in tiles, equal to the whole: for volumes that do not fit in memory.

A tile is read with a margin as wide as the network sees, of which nothing is kept; at the volume's
own border it has none, so that the network pads there as it always does. Group norms average over
the whole volume, which no tile sees: their statistics are gathered first, norm after norm, each in
a pass over all tiles with the earlier ones held. Nothing is blended, so nothing can show a seam.
"""

import copy
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.models.autoencoder import Autoencoder


@dataclass(frozen=True)
class Span:
    """One side of a tile in latents: what it reads, and the core that it answers for."""

    start: int
    stop: int
    core_start: int
    core_stop: int

    def read(self, ratio: int) -> slice:
        """What it reads of a volume with `ratio` voxels per latent."""
        return slice(self.start * ratio, self.stop * ratio)

    def core(self, ratio: int) -> slice:
        """Its core in such a volume."""
        return slice(self.core_start * ratio, self.core_stop * ratio)

    def core_inside(self, ratio: int) -> slice:
        """Its core in what it read of such a volume."""
        start, stop = self.core_start - self.start, self.core_stop - self.start
        return slice(start * ratio, stop * ratio)


Tile = tuple[Span, ...]


def spans(side: int, core: int, margin: int) -> list[Span]:
    """Tiles of one side: cores that cover it once, with a margin where the side goes on."""
    starts = range(0, side, core)
    pairs = [(start, min(start + core, side)) for start in starts]
    return [Span(max(0, a - margin), min(side, b + margin), a, b) for a, b in pairs]


def margin(half: nn.Module) -> int:
    """How many latents beyond its own an encoder or a decoder sees on each side."""
    reach, scale = Fraction(0), Fraction(1)
    for module in half.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            kernel, stride = module.kernel_size[0], module.stride[0]
            reach += scale * (kernel // 2 if stride == 1 else kernel - 1)
            scale *= stride
        elif isinstance(module, nn.Upsample):
            scale /= round(module.scale_factor[0])  # type: ignore[index]
    # The encoder counts in its input's voxels, `scale` of which make a latent.
    return math.ceil(reach / max(scale, Fraction(1)))


@torch.inference_mode()
def encode_in_tiles(
    autoencoder: Autoencoder, images: Float[Tensor, "n 1 *space"], cores: tuple[int, ...]
) -> Float[Tensor, "n c *latent"]:
    """`autoencoder.encode`, by tiles with cores of these sides in latents.

    `images` may lie on another device than the network; the latents will lie there too.
    """
    ours, config = _Tiled(autoencoder, "encoder"), autoencoder.config
    sides = autoencoder.latent_sides(images.shape[2:])
    latents = images.new_empty((len(images), config.latent_channels, *sides))
    return ours.run(ours.autoencoder.encode, images, latents, cores)


@torch.inference_mode()
def decode_in_tiles(
    autoencoder: Autoencoder, latents: Float[Tensor, "n c *latent"], cores: tuple[int, ...]
) -> Float[Tensor, "n 1 *space"]:
    """`autoencoder.decode`, by tiles with cores of these sides in latents.

    `latents` may lie on another device than the network; the images will lie there too.
    """
    ours = _Tiled(autoencoder, "decoder")
    sides = [side * autoencoder.config.factor for side in latents.shape[2:]]
    images = latents.new_empty((len(latents), 1, *sides))
    return ours.run(ours.autoencoder.decode, latents, images, cores)


class _Gathered(Exception):
    """A norm has what it came for; the rest of the network need not run."""


class _WholeNorm(nn.Module):
    """A group norm with the statistics of a whole volume, gathered tile by tile, then held."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm
        self.tile: Tile = ()
        self.seen: list[tuple[int, Tensor, Tensor]] = []
        self.held: tuple[Tensor, Tensor] | None = None

    def forward(self, features: Float[Tensor, "n c *space"]) -> Tensor:
        if self.held is None:
            self._gather(features)
            raise _Gathered
        scale, shift = (part.view(*part.shape, *[1] * (features.ndim - 2)) for part in self.held)
        return torch.addcmul(shift, features.float(), scale).to(self.norm.weight.dtype)

    def _gather(self, features: Tensor) -> None:
        """Count, mean and variance of each group in this tile's core."""
        pairs = zip(self.tile, features.shape[2:], strict=True)
        inside = [span.core_inside(side // (span.stop - span.start)) for span, side in pairs]
        core = features[:, :, *inside].float()
        grouped = core.reshape(len(core), self.norm.num_groups, -1)
        variance, mean = torch.var_mean(grouped, 2, correction=0)
        self.seen.append((grouped.shape[2], mean.double(), variance.double()))

    def hold(self) -> None:
        """From now on normalize by what all tiles had together."""
        counts, means, variances = zip(*self.seen, strict=True)
        each, within = torch.stack(means), torch.stack(variances)
        share = each.new_tensor(counts).view(-1, 1, 1) / sum(counts)
        mean = (share * each).sum(0)
        variance = (share * (within + (each - mean).square())).sum(0)
        width = self.norm.num_channels // self.norm.num_groups
        sd = (variance + self.norm.eps).sqrt().repeat_interleave(width, 1)
        scale = self.norm.weight / sd
        shift = self.norm.bias - mean.repeat_interleave(width, 1) * scale
        self.held = scale.float(), shift.float()


class _Tiled:
    """A twin of an autoencoder on the same weights, one half of which runs in tiles."""

    def __init__(self, autoencoder: Autoencoder, half: Literal["encoder", "decoder"]) -> None:
        weights = (*autoencoder.parameters(), *autoencoder.buffers())
        self.autoencoder = copy.deepcopy(autoencoder, {id(tensor): tensor for tensor in weights})
        self.weight = weights[0]
        network = self.autoencoder.network.get_submodule(half)
        self.margin = margin(network)
        self.norms: list[_WholeNorm] = []
        for name, module in list(network.named_modules()):
            if isinstance(module, nn.GroupNorm):
                self.norms.append(_WholeNorm(module))
                network.set_submodule(name, self.norms[-1])

    def run(
        self,
        function: Callable[[Tensor], Tensor],
        source: Tensor,
        target: Tensor,
        cores: tuple[int, ...],
    ) -> Tensor:
        """Fill `target` with the function of `source`; cores count in latents."""
        factor = self.autoencoder.config.factor
        inner, outer = (1, factor) if source.shape[2] < target.shape[2] else (factor, 1)
        sides = [side // inner for side in source.shape[2:]]
        axes = [spans(*each, self.margin) for each in zip(sides, cores, strict=True)]
        tiles = list(product(*axes))

        def run_one(tile: Tile) -> Tensor:
            for norm in self.norms:
                norm.tile = tile
            return function(source[:, :, *(span.read(inner) for span in tile)].to(self.weight))

        for norm in self.norms:
            for tile in tiles:
                with suppress(_Gathered):
                    run_one(tile)
            norm.hold()
        for tile in tiles:
            core = run_one(tile)[:, :, *(span.core_inside(outer) for span in tile)]
            target[:, :, *(span.core(outer) for span in tile)] = core.to(target)
        return target
