"""The denoiser: latents at time t and a condition to what the objective wants predicted.

MONAI's DiffusionModelUNet reads one token per attribute by cross-attention; the same tokens,
side by side, are added to the time embedding, which short trainings learn much faster.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn

from medsynth.models.precision import dtype_of

SPAN_FEATURES = 12


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of the network; each level after the first halves the latents' sides.

    `attention` is the number of levels, from the lowest, that attend. The network itself sees
    time_scale * t + time_offset, in `time_features` waves (0: as many as the first level has
    channels). A network that knows spans may be asked for the mean velocity over the time that a
    step will carry its latents. With `has_positions` the condition ends with a token for each
    position of the latents.
    """

    spatial_dims: int
    latent_channels: int
    num_tokens: int
    channels: tuple[int, ...] = (32, 64, 96)
    num_res_blocks: int = 1
    attention: int = 1
    token_dim: int = 64
    norm_groups: int = 16
    dropout: float = 0.0
    time_scale: float = 1000.0
    time_offset: float = 0.0
    knows_spans: bool = False
    has_positions: bool = False
    time_features: int = 0

    @property
    def multiple(self) -> int:
        """What every side of the latents must be divisible by."""
        return int(2 ** (len(self.channels) - 1))


class Denoiser(nn.Module):
    """Predicts what its objective wants of latents; a fresh one predicts exactly zero."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.channels)
        self.network = DiffusionModelUNet(
            spatial_dims=config.spatial_dims,
            in_channels=config.latent_channels + config.has_positions * config.token_dim,
            out_channels=config.latent_channels,
            num_res_blocks=config.num_res_blocks,
            channels=config.channels,
            attention_levels=[levels - level <= config.attention for level in range(levels)],
            norm_num_groups=config.norm_groups,
            num_head_channels=[min(32, width) for width in config.channels],
            with_conditioning=True,
            cross_attention_dim=config.token_dim,
            num_class_embeds=1,
            dropout_cattn=config.dropout,
            include_fc=True,
            use_flash_attention=True,
        )
        if config.time_features:
            # MONAI reads the number of waves here, and nothing else.
            self.network.block_out_channels = (config.time_features,)
            self.network.time_embed[0] = nn.Linear(config.time_features, 4 * config.channels[0])
        # MONAI adds `class_embedding(class_labels)` to the time embedding: ours reads all tokens.
        width = config.num_tokens * config.token_dim + SPAN_FEATURES * config.knows_spans
        self.network.class_embedding = nn.Linear(width, 4 * config.channels[0])

    def forward(
        self,
        latents: Float[Tensor, "n c *space"],
        t: Float[Tensor, " n"],
        condition: Float[Tensor, "n tokens dim"],
        span: Float[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n c *space"]:
        """The prediction at times t in [0, 1]; `span` is read by a network that knows spans."""
        seen = self.config.time_scale * t + self.config.time_offset
        dtype = dtype_of(self)
        condition = condition.to(dtype)
        tokens = condition[:, : self.config.num_tokens]
        labels = tokens.flatten(1)
        if self.config.knows_spans:
            span = torch.zeros_like(t) if span is None else span
            labels = torch.cat([labels, span_features(span).to(labels.dtype)], dim=1)
        output: Tensor = self.network(
            self._beside(latents.to(dtype), condition),
            seen,
            context=tokens,
            class_labels=labels,
        )
        return output.to(torch.float32)

    def _beside(self, latents: Tensor, condition: Tensor) -> Tensor:
        """The latents, and the tokens of their positions as further channels."""
        if not self.config.has_positions:
            return latents
        planes = condition[:, self.config.num_tokens :].transpose(1, 2).to(latents.dtype)
        sides = (len(latents), -1, *latents.shape[2:])
        return torch.cat([latents, planes.reshape(sides)], dim=1)


def span_features(span: Float[Tensor, " n"]) -> Float[Tensor, "n features"]:
    """Waves of period 4, 2, 1, 1/2, ... in the span."""
    octaves = 2.0 ** torch.arange(SPAN_FEATURES // 2, device=span.device)
    phase = span[:, None] * octaves * (torch.pi / 2)
    return torch.cat([phase.sin(), phase.cos()], dim=1)
