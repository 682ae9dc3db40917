"""A VQ-VAE's codes, and a transformer that writes them one after another.

References: van den Oord et al., "Neural Discrete Representation Learning", 2017; Tudosiu et al.,
"Realistic morphology-preserving generative modelling of the brain", 2024. The networks are
MONAI's VQVAE and DecoderOnlyTransformer; attributes come in by cross-attention.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from monai.networks.nets.transformer import DecoderOnlyTransformer
from monai.networks.nets.vqvae import VQVAE
from torch import Tensor, nn
from torch.nn import functional

from medsynth.models.autoencoder import from_patches, to_patches
from medsynth.models.conditioning import AttributeBatch, ConditionEncoder

_PATCH = 2
_HALVE, _KEEP = (2, 4, 1, 1), (1, 3, 1, 1)
"""Stride, kernel, dilation and padding of a level of MONAI's VQVAE."""


@dataclass(frozen=True)
class CodebookShape:
    """Widths; each level after the first halves the sides, after blocks of two voxels a side."""

    spatial_dims: int
    channels: tuple[int, ...]
    num_codes: int
    code_dim: int


def codes_multiple(channels: tuple[int, ...]) -> int:
    """What a scan's sides must be multiples of: how many voxels of a side share one code."""
    return int(_PATCH * 2 ** (len(channels) - 1))


class Codebook(nn.Module):
    """Images in [-1, 1] to codes, and back."""

    def __init__(self, shape: CodebookShape) -> None:
        super().__init__()
        self.shape = shape
        strides = [_KEEP, *[_HALVE] * (len(shape.channels) - 1)]
        self.network = VQVAE(
            shape.spatial_dims,
            in_channels=_PATCH**shape.spatial_dims,
            out_channels=_PATCH**shape.spatial_dims,
            channels=shape.channels,
            num_res_layers=1,
            num_res_channels=shape.channels,
            downsample_parameters=strides,
            upsample_parameters=[(*stride, 0) for stride in reversed(strides)],
            num_embeddings=shape.num_codes,
            embedding_dim=shape.code_dim,
            decay=0.99,
            ddp_sync=False,
        )

    def forward(self, images: Float[Tensor, "n 1 *space"]) -> tuple[Tensor, Tensor]:
        """Reconstruction, and how far the encoder's outputs lie from their codes."""
        encoded = self._encode(images)
        # In bf16 nearest codes and their averages are noise; MONAI spares them on GPUs alone.
        with torch.autocast(images.device.type, enabled=False):
            codes, distance = self.network.quantize(encoded.float())
        return self._decode(codes), distance

    def encode(self, images: Float[Tensor, "n 1 *space"]) -> Int[Tensor, " n *latent"]:
        """The nearest code at each place."""
        with torch.autocast(images.device.type, enabled=False):
            codes: Tensor = self.network.quantizer.quantize(self._encode(images).float())
        return codes

    def decode(self, codes: Int[Tensor, " n *latent"]) -> Float[Tensor, "n 1 *space"]:
        """Images of codes."""
        return self._decode(self.network.quantizer.embed(codes))

    @torch.no_grad()
    def begin_at(self, images: Float[Tensor, "n 1 *space"]) -> None:
        """Put the codes where the fresh encoder's outputs lie: a code that nothing is near dies."""
        found = self._encode(images).movedim(1, -1).flatten(0, -2)
        rows = torch.randint(len(found), (self.shape.num_codes,)).to(found.device)
        quantizer = self.network.quantizer.quantizer
        quantizer.embedding.weight.copy_(found[rows])
        quantizer.ema_w.copy_(found[rows])
        quantizer.ema_cluster_size.fill_(1.0)

    def _encode(self, images: Tensor) -> Tensor:
        encoded: Tensor = self.network.encode(to_patches(images, _PATCH))
        return encoded

    def _decode(self, embedded: Tensor) -> Tensor:
        return from_patches(self.network.decode(embedded), _PATCH)


class CodeWriter(nn.Module):
    """Condition encoder and transformer: the logits of each code after those before it."""

    def __init__(
        self,
        encoder: ConditionEncoder,
        *,
        num_codes: int,
        length: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.encoder, self.num_codes, self.length = encoder, num_codes, length
        self.transformer = DecoderOnlyTransformer(
            num_tokens=num_codes + 1,  # the last one begins every sequence
            max_seq_len=length,
            attn_layers_dim=width,
            attn_layers_depth=depth,
            attn_layers_heads=heads,
            with_cross_attention=True,
            embedding_dropout_rate=dropout,
            use_flash_attention=True,
        )

    def forward(
        self, codes: Int[Tensor, "n length"], asked: AttributeBatch
    ) -> Float[Tensor, "n length codes"]:
        """Logits of every code, in one pass."""
        begin = torch.full_like(codes[:, :1], self.num_codes)
        logits: Tensor = self.transformer(
            torch.cat([begin, codes[:, :-1]], dim=1), context=self.encoder(asked)
        )
        return logits[..., : self.num_codes].float()

    def write(
        self, asked: AttributeBatch, chance: Float[np.ndarray, "n length"]
    ) -> Int[Tensor, "n length"]:
        """Codes drawn one after another, by numbers in [0, 1); one short pass for each."""
        context = self.encoder(asked)
        cache = _Cache(self.transformer, len(chance), self.length)
        codes = torch.full((len(chance), 1), self.num_codes, device=context.device)
        written = []
        for place in range(self.length):
            logits = cache.step(codes, place, context)[:, : self.num_codes]
            codes = choose(logits, torch.from_numpy(chance[:, place]).to(context.device))
            written.append(codes)
        return torch.cat(written, dim=1)


def choose(logits: Float[Tensor, "n codes"], chance: Float[Tensor, " n"]) -> Int[Tensor, "n 1"]:
    """The code whose share of the summed probabilities holds the number in [0, 1)."""
    sums = logits.double().softmax(1).cumsum(1)
    reached = chance.double()[:, None] * sums[:, -1:]
    return torch.searchsorted(sums, reached, right=True).clamp_max(logits.shape[1] - 1)


class _Cache:
    """Keys and values of what was written so far, which MONAI's transformer does not keep."""

    def __init__(self, transformer: DecoderOnlyTransformer, batch: int, length: int) -> None:
        self.transformer = transformer
        like = transformer.token_embeddings.weight
        heads = transformer.attn_layers_heads
        shape = (batch, heads, length, transformer.attn_layers_dim // heads)
        self.kept = [(like.new_zeros(shape), like.new_zeros(shape)) for _ in transformer.blocks]

    def step(self, codes: Int[Tensor, "n 1"], place: int, context: Tensor) -> Tensor:
        """Logits (n, tokens) after the codes at this place: transformer.forward for one place."""
        ours = self.transformer
        x = ours.token_embeddings(codes) + ours.position_embeddings.embedding.weight[place]
        for block, (keys, values) in zip(ours.blocks, self.kept, strict=True):
            attention, h = block.attn, block.norm1(x)
            query, key, value = (
                attention.input_rearrange(layer(h))
                for layer in (attention.to_q, attention.to_k, attention.to_v)
            )
            keys[:, :, place : place + 1], values[:, :, place : place + 1] = key, value
            seen = functional.scaled_dot_product_attention(
                query, keys[:, :, : place + 1], values[:, :, : place + 1]
            )
            x = x + attention.out_proj(attention.out_rearrange(seen))
            x = x + block.cross_attn(block.norm_cross_attn(x), context=context)
            x = x + block.mlp(block.norm2(x))
        logits: Tensor = ours.to_logits(x)[:, 0]
        return logits
