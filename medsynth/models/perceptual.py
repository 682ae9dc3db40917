"""Distance between images in the features of a small network that knows how detail is lost.

Reference: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
2018, equation 1 with all weights equal. The features are our own (medsynth.train.features): the
usual ones were learned from photographs and come by download.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn import functional

from medsynth.models.reconstruction import halve


@dataclass(frozen=True)
class FeatureConfig:
    """Shape of the network: each level after the first has half the sides of the one before."""

    spatial_dims: int
    channels: tuple[int, ...] = (16, 32, 64)
    norm_groups: int = 8
    num_outputs: int = 3


class FeatureNetwork(nn.Module):
    """Images (n, 1, ...) to features at each level, and to what its own training asks of them."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(
            _level(config, before, after) for before, after in pairwise((1, *config.channels))
        )
        self.head = nn.Linear(config.channels[-1], config.num_outputs)

    def features(self, images: Float[Tensor, "n 1 *space"]) -> list[Tensor]:
        """Features of every level, finest first."""
        found = [self.levels[0](images)]
        for level in self.levels[1:]:
            found.append(level(halve(found[-1])))
        return found

    def forward(self, images: Float[Tensor, "n 1 *space"]) -> Float[Tensor, "n outputs"]:
        """Answers to its own training's question."""
        outputs: Tensor = self.head(self.features(images)[-1].flatten(2).mean(2))
        return outputs

    def distance(
        self, output: Float[Tensor, "n 1 *space"], target: Float[Tensor, "n 1 *space"]
    ) -> Float[Tensor, ""]:
        """Mean squared difference of the features' directions, summed over the levels."""
        with torch.no_grad():
            wanted = [_direction(features) for features in self.features(target)]
        got = [_direction(features) for features in self.features(output)]
        gaps = [(a - b).square().sum(1).mean() for a, b in zip(got, wanted, strict=True)]
        return torch.stack(gaps).sum()


def _level(config: FeatureConfig, before: int, after: int) -> nn.Sequential:
    conv = Conv[Conv.CONV, config.spatial_dims]
    return nn.Sequential(
        conv(before, after, 3, padding=1), nn.GroupNorm(config.norm_groups, after), nn.SiLU()
    )


def _direction(features: Tensor) -> Tensor:
    return functional.normalize(features.float(), dim=1, eps=1e-3)
