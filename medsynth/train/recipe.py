"""How a network is trained: steps, rates, averages, precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "bf16"]
_LEAST_SIDE = 4
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class Recipe:
    """How one network is trained; counts are steps, `ema_lengths` are shares of them.

    The last length is the one that validation follows.
    """

    stage: str
    num_steps: int
    learning_rate: float
    weight_decay: float
    seed: int
    batch: int = 1
    ema_lengths: tuple[float, ...] = (0.05, 0.1)
    num_snapshots: int = 16
    schedule: Schedule = "cosine"
    clip_norm: float = 1.0
    report_every: int = 10
    validate_every: int = 100
    save_every: int = 100
    patience: int = 8
    precision: Precision = "auto"
    is_deterministic: bool = False

    @property
    def snapshot_every(self) -> int:
        """Steps between stored averages."""
        return math.ceil(self.num_steps / self.num_snapshots)


def spare_small_volumes(recipe: Recipe, sides: Sequence[int], factor: int) -> Recipe:
    """The recipe in fp32 for a 3D network whose coarsest level has a side of less than four.

    oneDNN's bf16 weight gradient of a 3D convolution then reads unset memory now and then.
    """
    is_small = len(sides) == 3 and min(sides) < _LEAST_SIDE * factor
    return replace(recipe, precision="fp32") if is_small else recipe


def learning_rate(recipe: Recipe, step: int) -> float:
    """A linear rise over the first twentieth, then constant, or half a cosine to a hundredth."""
    warmup = max(1, recipe.num_steps // 20)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    share = (step - warmup) / max(1, recipe.num_steps - warmup)
    return recipe.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)


def computes_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether to autocast: asked for, or left open where the hardware multiplies bf16 itself."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())
