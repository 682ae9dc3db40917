"""Features that nobody trained: frozen random convolutions and pyramid statistics.

Weak, but unbiased: no network of ours has ever seen a scan through them, so they cannot favor the
generator. They find gross failure: blur, noise, wrong contrast, missing parts.
"""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

Images = Float[np.ndarray, "n i j k"]
_SEED = 20_240_601
_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


@torch.no_grad()
def frozen_features(images: Images) -> Float[np.ndarray, "n features"]:
    """Random convolutional features and pyramid statistics of each scan, side by side."""
    parts = []
    filters = _random_filters(is_3d=images.shape[3] > 1)
    for batch in torch.split(torch.from_numpy(np.ascontiguousarray(images, np.float32)), 64):
        x = batch[:, None, ..., 0] if images.shape[3] == 1 else batch[:, None]
        parts.append(torch.cat([_convolve(x, filters), _pyramid(x), _layout(x)], 1))
    return torch.cat(parts).numpy().astype(np.float64)


def _random_filters(*, is_3d: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(_SEED)
    sides = (3, 3, 3) if is_3d else (3, 3)
    widths = (1, 16, 32, 48)
    filters = []
    for inside, outside in pairwise(widths):
        weights = torch.empty(outside, inside, *sides)
        nn.init.orthogonal_(weights, generator=generator)
        filters.append(weights - weights.mean(dim=tuple(range(2, weights.ndim)), keepdim=True) / 2)
    return filters


def _convolve(x: Tensor, filters: list[Tensor]) -> Tensor:
    """Mean and spread over space of each layer's rectified responses."""
    convolve = F.conv3d if x.ndim == 5 else F.conv2d
    found = []
    for weights in filters:
        x = F.relu(convolve(x, weights, stride=2, padding=1))
        maps = x.flatten(2)
        found += [maps.mean(2), maps.std(2, correction=0)]
    return torch.cat(found, 1)


def _pyramid(x: Tensor) -> Tensor:
    """Energy of each band of a Laplacian pyramid (log), and quantiles of the intensities."""
    pool = F.avg_pool3d if x.ndim == 5 else F.avg_pool2d
    found = [torch.quantile(x.flatten(1), torch.tensor(_QUANTILES), dim=1).T]
    while min(x.shape[2:]) >= 8:
        small = pool(x, 2)
        band = x - F.interpolate(small, x.shape[2:], mode="nearest")
        found.append((band.flatten(1).square().mean(1, keepdim=True) + 1e-6).log())
        x = small
    return torch.cat(found, 1)


def _layout(x: Tensor) -> Tensor:
    """The scan at four steps along each axis: where things are."""
    sides = [min(4, side) for side in x.shape[2:]]
    if x.ndim == 5:
        return F.adaptive_avg_pool3d(x, (sides[0], sides[1], sides[2])).flatten(1)
    return F.adaptive_avg_pool2d(x, (sides[0], sides[1])).flatten(1)
