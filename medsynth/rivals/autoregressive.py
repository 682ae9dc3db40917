"""Codes of a VQ autoencoder, written one after another by a transformer.

References: van den Oord et al., "Neural Discrete Representation Learning", 2017; Tudosiu et al.,
"Realistic morphology-preserving generative modelling of the brain", 2024. The autoencoder is the
one that diffusion has, of kind "vq"; the transformer is MONAI's DecoderOnlyTransformer, to which
attributes come by cross-attention.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from monai.networks.nets.transformer import DecoderOnlyTransformer
from torch import Tensor, nn
from torch.nn import functional

from medsynth.models.autoencoder import Autoencoder
from medsynth.models.conditioning import AttributeBatch, ConditionEncoder


@dataclass(frozen=True, eq=False)
class Autoregressive:
    """A trained codebook of some latent sides, and who writes with it."""

    autoencoder: Autoencoder
    writer: "CodeWriter"
    latent: tuple[int, ...]

    def __call__(
        self, noise: Float[Tensor, "n length"], asked: AttributeBatch
    ) -> Float[Tensor, "n 1 *space"]:
        """Images of normal numbers, one per code, and of what is asked for."""
        codes = self.writer.write(asked, torch.special.ndtr(noise.double()))
        assert self.autoencoder.codebook is not None
        latents = self.autoencoder.codebook.embed(codes.view(len(codes), *self.latent))
        return self.autoencoder.decode(latents)


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
        self, asked: AttributeBatch, chance: Float[Tensor, "n length"]
    ) -> Int[Tensor, "n length"]:
        """Codes drawn one after another, by numbers in [0, 1]; one short pass for each."""
        context = self.encoder(asked)
        cache = _Cache(self.transformer, len(chance), self.length)
        codes = torch.full((len(chance), 1), self.num_codes, device=context.device)
        written = []
        for place in range(self.length):
            logits = cache.step(codes, place, context)[:, : self.num_codes]
            codes = choose(logits, chance[:, place])
            written.append(codes)
        return torch.cat(written, dim=1)


def choose(logits: Float[Tensor, "n codes"], chance: Float[Tensor, " n"]) -> Int[Tensor, "n 1"]:
    """The code whose share of the summed probabilities holds the number in [0, 1]."""
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
