"""A ControlNet that somebody else trained: a mask steers a denoiser by residuals at every level.

Zhang, Rao & Agrawala, "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023.
Without a mask there are no residuals, and the denoiser is the one that it was before.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from monai.networks.nets.controlnet import ControlNet
from torch import Tensor, nn
from torch.nn import functional

from medsynth.models.masks import MaskGrid

Arguments = Mapping[str, Any]


def hint_shrink(control: Arguments) -> int:
    """How many voxels of a side of the picture shown share one latent."""
    return int(2 ** (len(control["conditioning_embedding_num_channels"]) - 1))


def hint_channels(control: Arguments) -> int:
    """Channels of the picture that a ControlNet is shown."""
    return int(control["conditioning_embedding_in_channels"])


def require_fit(control: Arguments, unet: Arguments, latent_channels: int) -> None:
    """Raise ValueError where a ControlNet's residuals are none of the U-Net's."""
    for name in ("spatial_dims", "channels", "num_res_blocks"):
        if control[name] != unet[name]:
            raise ValueError(
                f"a ControlNet must have the {name} of its U-Net, {unet[name]}, got {control[name]}"
            )
    if control["in_channels"] not in (latent_channels, unet["in_channels"]):
        raise ValueError(
            f"a ControlNet must read latents of {latent_channels} channels, or what its U-Net "
            f"reads, but it reads {control['in_channels']}"
        )
    for name in ("cross_attention_dim", "num_class_embeds"):
        if control[name] not in (None, unet[name]):
            raise ValueError(
                f"a ControlNet must read no condition or that of its U-Net: {name} is "
                f"{control[name]} and not {unet[name]}"
            )


class HintPicture(nn.Module):
    """Codes (n, voxels) of masks to a row of numbers: the picture that a ControlNet is shown.

    `numbers` tells what each channel is given for the background and every label, or for the
    black and the white of a sketch. The picture is the nearest at the sides that the network asks
    for, as `generative`'s own inferer makes it.
    """

    def __init__(self, grid: MaskGrid, is_sketch: bool, num_codes: int, control: Arguments) -> None:
        super().__init__()
        self.grid, self.is_sketch = grid, is_sketch
        self.sides = [side * hint_shrink(control) for side in grid.latent_shape]
        self.register_buffer("numbers", torch.zeros(num_codes, hint_channels(control)))

    def forward(self, codes: Float[Tensor, "n voxels"]) -> Float[Tensor, "n numbers"]:
        """Channel by channel, each in C order."""
        numbers = self.get_buffer("numbers")
        planes = codes.reshape(len(codes), 1, *self.grid.frame.padded_shape)
        shown = functional.interpolate(planes, self.sides).squeeze(1)
        if self.is_sketch:
            gray = shown.unsqueeze(-1) / 255
            picture = numbers[0] + gray * (numbers[1] - numbers[0])
        else:
            picture = numbers[shown.long()]
        return picture.movedim(-1, 1).flatten(1)


class Control(nn.Module):
    """The ControlNet; its residuals by the names of the U-Net's arguments."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__()
        self.arguments = arguments
        self.network = ControlNet(**arguments, use_flash_attention=True)

    def forward(
        self,
        seen: Float[Tensor, "n c *space"],
        steps: Float[Tensor, " n"],
        hint: Float[Tensor, "n picture"],
        context: Float[Tensor, "n 1 numbers"],
        classes: Tensor | None,
    ) -> dict[str, Any]:
        """Residuals of the scans that have a mask; a row of `hint` ends in whether there is one.

        `seen` is what the U-Net sees: latents, and behind them what it reads beside them.
        """
        if not bool(hint[:, -1].any()):
            return {}
        arguments, shrink = self.arguments, hint_shrink(self.arguments)
        sides = [side * shrink for side in seen.shape[2:]]
        down, middle = self.network(
            seen[:, : arguments["in_channels"]],
            steps,
            hint[:, :-1].reshape(len(hint), -1, *sides),
            context=context if arguments["with_conditioning"] else None,
            class_labels=classes if arguments["num_class_embeds"] else None,
        )
        asked = hint[:, -1].view(-1, *[1] * (seen.ndim - 1))
        return {
            "down_block_additional_residuals": tuple(residual * asked for residual in down),
            "mid_block_additional_residual": middle * asked,
        }
