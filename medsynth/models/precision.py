"""Weights in fewer bits: bf16, which the networks then run in, or int8 for storing alone.

int8 holds a convolution's or linear layer's weight as whole numbers of [-127, 127] with one fp32
scale for each output channel; read back they are fp32 again, and run as such.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Precision = Literal["fp32", "bf16", "int8"]
SCALE = ":scale"
"""What follows the name of an int8 tensor's scales."""
LARGEST = 127


def dtype_of(network: nn.Module) -> torch.dtype:
    """The type that a network computes in."""
    return next(network.parameters()).dtype


def pack(network: nn.Module, precision: Precision) -> dict[str, Tensor]:
    """Every tensor of a network by name, in these bits."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    if precision == "bf16":
        return {name: _halved(tensor) for name, tensor in tensors.items()}
    if precision == "int8":
        for name in _layers(network):
            tensors[name], tensors[name + SCALE] = quantize(tensors[name].float())
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `pack` made, with int8 weights multiplied out."""
    scales = {name.removesuffix(SCALE): s for name, s in tensors.items() if name.endswith(SCALE)}
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    return plain | {name: dequantize(plain[name], scale) for name, scale in scales.items()}


def quantize(weight: Float[Tensor, "out in *kernel"]) -> tuple[Tensor, Float[Tensor, " out"]]:
    """The nearest int8 numbers and their scales; no weight moves by more than half a scale."""
    scale = weight.flatten(1).abs().amax(dim=1) / LARGEST
    divisor = torch.where(scale > 0, scale, 1.0)
    return (weight / _along_first(divisor, weight)).round().to(torch.int8), scale


def dequantize(numbers: Tensor, scale: Float[Tensor, " out"]) -> Float[Tensor, "out in *kernel"]:
    """Numbers times the scale of their output channel."""
    return numbers.float() * _along_first(scale, numbers)


def _along_first(scale: Tensor, like: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (like.ndim - 1))


def _halved(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor


def _layers(network: nn.Module) -> list[str]:
    kinds = nn.Linear | nn.Conv2d | nn.Conv3d
    return [f"{name}.weight" for name, part in network.named_modules() if isinstance(part, kinds)]
