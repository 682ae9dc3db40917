"""Whether a volume is encoded and decoded whole or in tiles, and in which, from free memory.

The cost is counted: at its widest layer a network holds a few feature maps at once, and what the
convolutions work in. Of all tiles that fit, those are chosen that repeat the least work in margins.
"""

import math
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.models.autoencoder import Autoencoder, AutoencoderConfig
from medsynth.models.imported import AnyAutoencoder, ImportedAutoencoder
from medsynth.models.tiling import decode_in_tiles, encode_in_tiles, margin, spans

LIVE_MAPS = 6
"""Feature maps of the widest layer at once: three of a residual block, and a convolution's own."""
FIXED_BYTES = 128 * 2**20
"""What the allocator and the convolutions' plans take whatever the tile (docs/benchmarks)."""
SHARE = 0.8
"""How much of the free memory is planned with."""

Half = Literal["encoder", "decoder"]


def bytes_per_latent(config: AutoencoderConfig) -> int:
    """Most memory that encoding or decoding takes for each latent of what it sees, in fp32."""
    finest, widths = len(config.channels) - 1, config.channels
    widest: int = max(
        # Levels are changed in the width of the coarser one.
        max(widths[level : level + 2]) * 2 ** (config.spatial_dims * (finest - level))
        for level in range(len(widths))
    )
    return int(4 * (LIVE_MAPS * widest + 2 * config.factor**config.spatial_dims))


def plan_tiles(
    autoencoder: Autoencoder, half: Half, num_scans: int, sides: tuple[int, ...], free_bytes: int
) -> tuple[int, ...]:
    """Sides of the tiles' cores in latents; those of the whole where it fits.

    `free_bytes` is what is free where the network lies, the volume and its latents already paid
    for. Raises ValueError where not even the smallest tile fits.
    """
    each = num_scans * bytes_per_latent(autoencoder.config)
    most = (int(SHARE * free_bytes) - FIXED_BYTES) // each
    if math.prod(sides) <= most:
        return sides
    beyond = margin(autoencoder.network.get_submodule(half))
    axes = [_choices(side, beyond) for side in sides]
    fitting = [tile for tile in product(*axes) if math.prod(read for _, read, _ in tile) <= most]
    if not fitting:
        least = math.prod(min(read for _, read, _ in axis) for axis in axes) * each + FIXED_BYTES
        raise ValueError(
            f"the smallest tile of a volume with {sides} latents needs "
            f"{math.ceil(least / SHARE / 2**20)} MiB, and {free_bytes // 2**20} MiB are free; free "
            "some memory, or handle fewer scans at once"
        )
    best = min(fitting, key=lambda tile: math.prod(work for _, _, work in tile))
    return tuple(core for core, _, _ in best)


def _choices(side: int, beyond: int) -> list[tuple[int, int, int]]:
    """Core, most latents that a tile reads, and latents read in all, for each number of tiles."""
    cores = sorted({-(-side // parts) for parts in range(1, side + 1)})
    cut = [(core, spans(side, core, beyond)) for core in cores]
    reads = [(core, [span.stop - span.start for span in tiles]) for core, tiles in cut]
    return [(core, max(lengths), sum(lengths)) for core, lengths in reads]


@torch.inference_mode()
def encode(
    autoencoder: AnyAutoencoder, images: Float[Tensor, "n 1 *space"], free_bytes: int
) -> Float[Tensor, "n c *latent"]:
    """Latents of images, in tiles where the whole does not fit in `free_bytes`.

    An imported network may attend to all of a volume at once: it is never cut.
    """
    if isinstance(autoencoder, ImportedAutoencoder):
        return autoencoder.encode(images.to(_weight(autoencoder))).to(images)
    sides = autoencoder.latent_sides(images.shape[2:])
    cores = plan_tiles(autoencoder, "encoder", len(images), sides, free_bytes)
    if cores == sides:
        return autoencoder.encode(images.to(_weight(autoencoder))).to(images)
    return encode_in_tiles(autoencoder, images, cores)


@torch.inference_mode()
def decode(
    autoencoder: AnyAutoencoder, latents: Float[Tensor, "n c *latent"], free_bytes: int
) -> Float[Tensor, "n 1 *space"]:
    """Images of latents, in tiles as `encode`."""
    if isinstance(autoencoder, ImportedAutoencoder):
        return autoencoder.decode(latents.to(_weight(autoencoder))).to(latents)
    sides = tuple(latents.shape[2:])
    cores = plan_tiles(autoencoder, "decoder", len(latents), sides, free_bytes)
    if cores == sides:
        return autoencoder.decode(latents.to(_weight(autoencoder))).to(latents)
    return decode_in_tiles(autoencoder, latents, cores)


def _weight(autoencoder: AnyAutoencoder) -> Tensor:
    """Where the network lies, and what it computes in."""
    return next(autoencoder.parameters())
