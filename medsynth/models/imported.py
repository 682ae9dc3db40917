"""Networks that somebody else trained, as our generator uses them.

Autoencoder, denoiser and condition stand where our own stand; their networks are MONAI's, built
from the arguments that they were trained with. The condition is a few plain numbers, as in Pinaya
et al., "Brain Imaging Generation with Latent Diffusion Models", 2022.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from monai.networks.nets.vqvae import VQVAE
from torch import Tensor, nn

from medsynth.core.schema import AttributeSchema
from medsynth.models.autoencoder import Autoencoder
from medsynth.models.conditioning import PRESENT, AttributeBatch
from medsynth.models.control import Arguments, Control, HintPicture, require_fit
from medsynth.models.precision import dtype_of
from medsynth.models.trained import Trained


@dataclass(frozen=True)
class ImportedAutoencoderConfig:
    """Kind and arguments of MONAI's network, and what it sees for the darkest and brightest."""

    kind: Literal["AutoencoderKL", "VQVAE"]
    arguments: Mapping[str, Any]
    darkest: float = 0.0
    brightest: float = 1.0

    @property
    def spatial_dims(self) -> int:
        """2 for images, 3 for volumes."""
        return int(self.arguments["spatial_dims"])

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        name = "latent_channels" if self.kind == "AutoencoderKL" else "embedding_dim"
        return int(self.arguments[name])

    @property
    def factor(self) -> int:
        """How many voxels of a side share one latent."""
        if self.kind == "VQVAE":
            return math.prod(stride for stride, *_ in self.arguments["downsample_parameters"])
        return int(2 ** (len(self.arguments["channels"]) - 1))


class ImportedAutoencoder(nn.Module):
    """Images (n, 1, ...) in [-1, 1] to latents, and back."""

    def __init__(self, config: ImportedAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        if config.kind == "AutoencoderKL":
            self.network = AutoencoderKL(**config.arguments, use_flash_attention=True)
        else:
            self.network = VQVAE(**config.arguments)

    def encode(self, images: Float[Tensor, "n 1 *space"]) -> Float[Tensor, "n c *latent"]:
        """Mean latents, or the nearest codes."""
        low, high = self.config.darkest, self.config.brightest
        seen = low + (images + 1) / 2 * (high - low)
        if self.config.kind == "AutoencoderKL":
            mean: Tensor = self.network.encode(seen)[0]
            return mean
        codes: Tensor = self.network.encode_stage_2_inputs(seen)
        return codes

    def decode(self, latents: Float[Tensor, "n c *latent"]) -> Float[Tensor, "n 1 *space"]:
        """Images of latents; codes are the nearest ones."""
        low, high = self.config.darkest, self.config.brightest
        seen: Tensor = self.network.decode_stage_2_outputs(latents)
        return (seen - low) / (high - low) * 2 - 1


AnyAutoencoder = Autoencoder | ImportedAutoencoder
"""One of our own, or somebody else's."""


@dataclass(frozen=True)
class ImportedDenoiserConfig:
    """Arguments of MONAI's network, the latents' channels, and the timesteps of its schedule.

    `control` are the arguments of a ControlNet beside it, where there is one.
    """

    arguments: Mapping[str, Any]
    latent_channels: int
    num_timesteps: int = 1000
    control: Arguments | None = None

    def __post_init__(self) -> None:
        if self.arguments["in_channels"] < self.latent_channels:
            raise ValueError(
                f"the denoiser must read latents of {self.latent_channels} channels, "
                f"but it reads {self.arguments['in_channels']}"
            )
        if self.arguments["out_channels"] != self.latent_channels:
            raise ValueError(
                f"the denoiser must write latents of {self.latent_channels} channels, "
                f"but it writes {self.arguments['out_channels']}"
            )
        if len(self._counts) > 1 or (self.num_classes and self.num_numbers != 1):
            raise ValueError(
                "the denoiser must read one condition: by cross-attention, beside the latents, or "
                f"as one class; it reads {sorted(self._counts)} numbers in several ways"
            )
        if self.control is not None:
            require_fit(self.control, self.arguments, self.latent_channels)

    @property
    def _counts(self) -> set[int]:
        beside = self.arguments["in_channels"] - self.latent_channels
        counts = (beside, self.arguments["cross_attention_dim"] or 0, int(bool(self.num_classes)))
        return {count for count in counts if count}

    @property
    def num_numbers(self) -> int:
        """Numbers of the condition."""
        return max(self._counts, default=0)

    @property
    def num_classes(self) -> int:
        """Classes that it was trained on; 0 where its condition is no class."""
        return self.arguments["num_class_embeds"] or 0

    @property
    def knows_spans(self) -> bool:
        """Never: it was not distilled to leap."""
        return False

    @property
    def multiple(self) -> int:
        """What every side of the latents must be divisible by."""
        return int(2 ** (len(self.arguments["channels"]) - 1))


class ImportedDenoiser(nn.Module):
    """What the network predicts of latents; it reads the condition in every way it was made to."""

    def __init__(self, config: ImportedDenoiserConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DiffusionModelUNet(**config.arguments, use_flash_attention=True)
        self.control = None if config.control is None else Control(config.control)

    def forward(
        self,
        latents: Float[Tensor, "n c *space"],
        t: Float[Tensor, " n"],
        condition: Float[Tensor, "n 1 numbers"],
        span: Float[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n c *space"]:
        """The prediction at times t in [0, 1]: timestep k, counted from 0, is (k + 1) / count.

        It knows no spans. Behind the numbers of the condition is the picture of a mask.
        """
        steps = ((t * self.config.num_timesteps).round() - 1).clamp_min(0)
        numbers, hint = condition.to(dtype_of(self)).tensor_split([self.config.num_numbers], dim=2)
        seen = self._beside(latents.to(dtype_of(self)), numbers)
        classes = condition[:, 0, 0].round().long() if self.config.num_classes else None
        residuals = (
            {} if self.control is None else self.control(seen, steps, hint[:, 0], numbers, classes)
        )
        output: Tensor = self.network(
            seen,
            steps,
            context=numbers if self.config.arguments["with_conditioning"] else None,
            class_labels=classes,
            **residuals,
        )
        return output.to(torch.float32)

    def _beside(self, latents: Tensor, numbers: Tensor) -> Tensor:
        """The latents, and the numbers as further channels where the network has any."""
        if self.config.arguments["in_channels"] == self.config.latent_channels:
            return latents
        planes = numbers[:, 0].view(*numbers[:, 0].shape, *[1] * (latents.ndim - 2))
        return torch.cat([latents, planes.expand(-1, -1, *latents.shape[2:])], dim=1)


class ContextEncoder(nn.Module):
    """A batch of attributes to one token, a number for each; `unasked` stands for not asked.

    Where a ControlNet is (`control` are its arguments), the last attribute is its mask: behind
    the numbers come those of the picture, and whether there is one.
    """

    def __init__(
        self, schema: AttributeSchema, trained: Trained, control: Arguments | None = None
    ) -> None:
        super().__init__()
        told = [attribute for attribute in schema if attribute.kind != "mask"]
        width = sum(1 if a.is_numeric else len(trained[a.name].words) for a in told)
        self.register_buffer("of_columns", torch.zeros(width, len(told)))
        self.register_buffer("unasked", torch.zeros(len(told)))
        self.picture = None
        if control is not None:
            *_, mask = schema
            labels = len(mask.values)
            grid = trained[mask.name].grid
            self.picture = HintPicture(grid, not labels, 1 + max(1, labels), control)

    def forward(self, batch: AttributeBatch) -> Float[Tensor, "n 1 numbers"]:
        """The numbers asked for, as the denoiser was trained to read them."""
        of_columns, unasked = self.get_buffer("of_columns"), self.get_buffer("unasked")
        columns, codes = batch.values.tensor_split([len(of_columns)], dim=1)
        is_present = batch.states == PRESENT
        numbers = torch.where(is_present[:, : len(unasked)], columns @ of_columns, unasked)
        if self.picture is not None:
            numbers = torch.cat([numbers, self.picture(codes), is_present[:, -1:]], dim=1)
        return numbers.unsqueeze(1)
