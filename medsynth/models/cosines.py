"""The lowest cosines of every block of voxels: a linear way from images to latents and back.

Beside it a network only has to learn what a linear transform misses, which spares short trainings
what they spend longest on: to hand voxels through. With as many latents as voxels it loses nothing.
References: Ahmed, Natarajan & Rao, "Discrete Cosine Transform", 1974; Chen et al., "Deep
Compression Autoencoder for Efficient High-Resolution Diffusion Models", 2025, section 3.2, which
lets a residual network start from a path that has nothing to learn.
"""

from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Cosines(nn.Module):
    """The first `num_latents` cosines of blocks of `side` voxels, by falling wavelength."""

    basis: Tensor

    def __init__(self, spatial_dims: int, side: int, num_latents: int) -> None:
        super().__init__()
        waves = np.cos(np.pi / side * np.outer(np.arange(side), np.arange(side) + 0.5))
        waves *= np.sqrt(np.where(np.arange(side) == 0, 1, 2) / side)[:, None]
        orders = sorted(
            product(range(side), repeat=spatial_dims), key=lambda o: (sum(o), max(o), o)
        )
        basis = torch.zeros(num_latents, 1, *[side] * spatial_dims)
        for row, order in enumerate(orders[:num_latents]):
            block = waves[order[0]]
            for number in order[1:]:
                block = np.multiply.outer(block, waves[number])
            basis[row, 0] = torch.from_numpy(block)
        # The config decides it; weights on disk need not hold it.
        self.register_buffer("basis", basis, persistent=False)
        self.side = side

    def down(self, images: Float[Tensor, "n 1 *space"]) -> Float[Tensor, "n c *latent"]:
        """Latents of images."""
        convolve = F.conv2d if images.ndim == 4 else F.conv3d
        return convolve(images, self.basis, stride=self.side)

    def up(self, latents: Float[Tensor, "n c *latent"]) -> Float[Tensor, "n 1 *space"]:
        """The closest images that have these latents."""
        convolve = F.conv_transpose2d if latents.ndim == 4 else F.conv_transpose3d
        return convolve(latents, self.basis, stride=self.side)
