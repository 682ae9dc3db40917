"""Readers of masks: a small network, trained on real scans only, draws the mask of a scan.

Dilated convolutions see some 16 voxels around without losing resolution, whatever the scan's
sides (Yu & Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", 2016).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from medsynth.core.schema import Attribute

Images = Float[np.ndarray, "n i j k"]
MaskImages = UInt8[np.ndarray, "n i j k"]
_DILATIONS = (1, 2, 4, 8, 1)


class SegmenterConfig(BaseModel):
    """How a segmenter learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_steps: int = 240
    """Optimizer steps."""
    batch_voxels: int = 1 << 16
    """Voxels of a step's scans, at least one scan."""
    width: int = 16
    """Channels of every layer, a multiple of 8."""
    learning_rate: float = 5e-3
    """Peak of AdamW's one-cycle schedule."""


@dataclass(frozen=True)
class Segmenter:
    """A trained network for one attribute of kind mask."""

    attribute: Attribute
    network: nn.Module

    @torch.no_grad()
    def read(self, images: Images) -> MaskImages:
        """Masks as `core.masks` has them: codes of labels, or grays."""
        found = [self._codes(self.network(_tensor(images[n : n + 1]))) for n in range(len(images))]
        flat = torch.cat(found) if found else torch.zeros(images.shape)
        return flat.numpy().astype(np.uint8).reshape(images.shape)

    def _codes(self, output: Tensor) -> Tensor:
        if self.attribute.values:
            return output.argmax(dim=1)
        return (255 * output[:, 0]).round().clamp(0, 255)


def train_segmenter(
    attribute: Attribute,
    images: Images,
    masks: MaskImages,
    config: SegmenterConfig,
    *,
    seed: int,
    on_step: Callable[[int], None],
) -> Segmenter:
    """Learn to read the masks of real scans off their voxels."""
    batch = max(1, min(len(images), config.batch_voxels // images[0].size))
    num_outputs = len(attribute.values) + 1 if attribute.values else 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(config.width, num_outputs, is_3d=images.shape[3] > 1)
        optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=config.num_steps
        )
        for step in range(config.num_steps):
            rows = torch.randint(len(images), (batch,)).numpy()
            wanted = torch.from_numpy(masks[rows].astype(np.int64))
            wanted = wanted[..., 0] if images.shape[3] == 1 else wanted
            loss = _loss(network(_tensor(images[rows])), wanted, is_sketch=not attribute.values)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            on_step(step + 1)
    return Segmenter(attribute, network.eval())


def _network(width: int, num_outputs: int, *, is_3d: bool) -> nn.Module:
    conv: type[nn.Module] = nn.Conv3d if is_3d else nn.Conv2d
    layers: list[nn.Module] = []
    widths = (1, *[width] * len(_DILATIONS))
    for (inside, outside), dilation in zip(pairwise(widths), _DILATIONS, strict=True):
        layers += [conv(inside, outside, 3, padding=dilation, dilation=dilation)]
        layers += [nn.GroupNorm(8, outside), nn.SiLU()]
    return nn.Sequential(*layers, conv(width, num_outputs, 1))


def _loss(output: Tensor, wanted: Tensor, *, is_sketch: bool) -> Tensor:
    """Cross-entropy and soft Dice of the labels, or the squared error of grays."""
    if is_sketch:
        return F.mse_loss(output[:, 0], wanted / 255)
    chances = output.softmax(dim=1)
    hot = F.one_hot(wanted, output.shape[1]).movedim(-1, 1).float()
    axes = (0, *range(2, output.ndim))
    overlap, sizes = (chances * hot).sum(axes), chances.sum(axes) + hot.sum(axes)
    dice = (2 * overlap + 1) / (sizes + 1)
    return F.cross_entropy(output, wanted) + 1 - dice[1:].mean()


def _tensor(images: Images) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None] * 2 - 1
    return x[..., 0] if images.shape[3] == 1 else x
