"""Similarity of pairs of scans: a cohort that repeats itself is more alike than real scans are.

Only the ratio of synthetic to real pairs means anything: neither high nor low is good by itself.

Reference: Wang, Simoncelli & Bovik, "Multiscale Structural Similarity for Image Quality
Assessment", Asilomar 2003, equation 7 with its weights, cut to the scales that a small scan has.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang's weights of the scales, the finest first; those in use are brought to a sum of 1."""
SIGMA, RADIUS = 1.5, 3
"""The Gaussian window, voxels."""
_C1, _C2 = 0.01**2, 0.03**2


@torch.no_grad()
def pair_similarity(images: Float[np.ndarray, "n i j k"]) -> Float[np.ndarray, "n n"]:
    """Multiscale structural similarity of every pair; the diagonal is 1."""
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))
    x = x[..., 0] if images.shape[3] == 1 else x
    weights = torch.tensor(WEIGHTS[: _num_scales(min(x.shape[1:]))])
    similarity = torch.ones(len(x), len(x))
    for scale, weight in enumerate((weights / weights.sum()).tolist()):
        x = _halve(x) if scale else x
        found = _pairs_at(x, with_luminance=scale == len(weights) - 1)
        # A negative mean has no real power: opposite structure counts as none.
        similarity *= found.clamp_min(0) ** weight
    return (similarity.triu(1) + similarity.triu(1).T + torch.eye(len(x))).double().numpy()


def _num_scales(side: int) -> int:
    """Scales at which a side still holds one window."""
    return max(1, min(len(WEIGHTS), int(np.log2(side / (2 * RADIUS + 1))) + 1))


def _halve(x: Tensor) -> Tensor:
    pool = F.avg_pool3d if x.ndim == 4 else F.avg_pool2d
    return pool(x[:, None], 2)[:, 0]


def _pairs_at(x: Tensor, *, with_luminance: bool) -> Tensor:
    """Mean contrast and structure (and luminance) at one scale, of the pairs above the diagonal."""
    mean = _smooth(x)
    variance = _smooth(x * x) - mean**2
    found = torch.zeros(len(x), len(x))
    for row in range(len(x) - 1):
        a, b = slice(row, row + 1), slice(row + 1, None)
        covariance = _smooth(x[a] * x[b]) - mean[a] * mean[b]
        alike = (2 * covariance + _C2) / (variance[a] + variance[b] + _C2)
        if with_luminance:
            alike *= (2 * mean[a] * mean[b] + _C1) / (mean[a] ** 2 + mean[b] ** 2 + _C1)
        found[row, b] = alike.flatten(1).mean(1)
    return found


def _smooth(x: Tensor) -> Tensor:
    """Means under the Gaussian window where it fits, axis by axis; short sides get a short one."""
    for axis in range(1, x.ndim):
        radius = min(RADIUS, (x.shape[axis] - 1) // 2)
        window = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / SIGMA) ** 2)
        side = x.shape[axis] - 2 * radius
        shifted = (w * x.narrow(axis, i, side) for i, w in enumerate(window / window.sum()))
        x = torch.stack(list(shifted)).sum(0) if radius else x
    return x


def mean_off_diagonal(similarity: Float[np.ndarray, "n n"]) -> float:
    """Mean over pairs of different scans."""
    n = len(similarity)
    return float((similarity.sum() - np.trace(similarity)) / (n * (n - 1)))
