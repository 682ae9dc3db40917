"""A codebook: each latent vector is rounded to the nearest of a few hundred learned ones.

Codes trail the latents that chose them (van den Oord et al., "Neural Discrete Representation
Learning", 2017, appendix A.1); one that nobody chooses moves to where latents are (Dhariwal et
al., "Jukebox", 2020, section 3.1). The averages are MONAI's EMAQuantizer, which adds up the
counts of all processes.
"""

import torch
from jaxtyping import Float, Int
from monai.networks.layers.vector_quantizer import EMAQuantizer
from torch import Tensor, distributed, nn

CHUNK = 4096
"""Latent vectors compared with all codes at a time."""


class Codebook(nn.Module):
    """Latents (n, c, ...) to their nearest codes."""

    def __init__(
        self, spatial_dims: int, num_codes: int, latent_channels: int, least_use: float = 0.1
    ) -> None:
        super().__init__()
        self.least_use = least_use
        self.quantizer = EMAQuantizer(spatial_dims, num_codes, latent_channels)
        # MONAI counts from 0, which throws a code far away at its first update.
        self.quantizer.ema_cluster_size.fill_(1)

    def forward(
        self, latents: Float[Tensor, "n c *latent"]
    ) -> tuple[Float[Tensor, "n c *latent"], Float[Tensor, ""]]:
        """Codes, whose gradient is the latents', and the commitment loss; training moves codes."""
        # Distances of bf16 choose wrong codes.
        with torch.autocast(latents.device.type, enabled=False):
            codes, commitment, _ = self.quantizer(latents.float())
            if self.training:
                self._revive(latents.detach().float())
        return codes, commitment

    @torch.no_grad()
    def nearest(self, latents: Float[Tensor, "n c *latent"]) -> Float[Tensor, "n c *latent"]:
        """The nearest code of every latent vector."""
        return self.embed(self.indices(latents))

    @torch.no_grad()
    def indices(self, latents: Float[Tensor, "n c *latent"]) -> Int[Tensor, " n *latent"]:
        """Number of the nearest code of every latent vector."""
        with torch.autocast(latents.device.type, enabled=False):
            vectors, codes = latents.float().movedim(1, -1), self.quantizer.embedding.weight
            flat = vectors.reshape(-1, vectors.shape[-1])
            chosen = [torch.cdist(part, codes).argmin(1) for part in torch.split(flat, CHUNK)]
        return torch.cat(chosen).view(vectors.shape[:-1])

    def embed(self, indices: Int[Tensor, " n *latent"]) -> Float[Tensor, "n c *latent"]:
        """The codes of these numbers."""
        codes: Tensor = self.quantizer.embed(indices)
        return codes

    @torch.no_grad()
    def _revive(self, latents: Tensor) -> None:
        """Codes that too few latents chose of late move onto latents of this batch."""
        ours, flat = self.quantizer, _of_all(latents.movedim(1, -1).flatten(0, -2).contiguous())
        spent = (ours.ema_cluster_size < self.least_use).unsqueeze(1)
        places = flat[torch.randint(len(flat), (ours.num_embeddings,)).to(flat.device)]
        ours.ema_cluster_size.masked_fill_(spent.squeeze(1), 1)
        ours.ema_w.copy_(torch.where(spent, places, ours.ema_w))
        ours.embedding.weight.copy_(torch.where(spent, places, ours.embedding.weight))


def _of_all(vectors: Float[Tensor, "n c"]) -> Float[Tensor, "all c"]:
    """The vectors of every process, in order of rank."""
    if not distributed.is_initialized():
        return vectors
    parts = [torch.empty_like(vectors) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, vectors)
    return torch.cat(parts)
