"""Similarity of pairs of scans: a cohort that repeats itself is more alike than real scans are.

Structural similarity at several scales with a box window. Only the ratio of synthetic to real
pairs means anything: neither high nor low is good by itself.

Reference: Wang, Simoncelli & Bovik, "Multiscale Structural Similarity for Image Quality
Assessment", Asilomar 2003.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_WINDOW = 7
_MAX_SCALES = 3
_C1, _C2 = 0.01**2, 0.03**2


@torch.no_grad()
def pair_similarity(images: Float[np.ndarray, "n i j k"]) -> Float[np.ndarray, "n n"]:
    """Multiscale structural similarity of every pair; the diagonal is 1."""
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None]
    x = x[..., 0] if images.shape[3] == 1 else x
    similarity = torch.eye(len(x))
    for row in range(len(x) - 1):
        others = x[row + 1 :]
        similarity[row, row + 1 :] = _ms_ssim(x[row : row + 1].expand_as(others), others)
    return (similarity + similarity.T - torch.eye(len(x))).numpy().astype(np.float64)


def _ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean over scales of mean structural similarity, (n,)."""
    pool = F.avg_pool3d if a.ndim == 5 else F.avg_pool2d
    scales: list[Tensor] = []
    while len(scales) < _MAX_SCALES and (not scales or min(a.shape[2:]) >= _WINDOW):
        scales.append(_ssim(a, b))
        if min(a.shape[2:]) < 2:
            break
        a, b = pool(a, 2), pool(b, 2)
    return torch.stack(scales).mean(0)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    pool = F.avg_pool3d if a.ndim == 5 else F.avg_pool2d
    window = min(_WINDOW, *a.shape[2:])
    mean_a, mean_b, aa, bb, ab = (pool(x, window, 1) for x in (a, b, a * a, b * b, a * b))
    var_a, var_b, covariance = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * covariance + _C2) / (var_a + var_b + _C2)
    return (luminance * structure).flatten(1).mean(1)


def mean_off_diagonal(similarity: Float[np.ndarray, "n n"]) -> float:
    """Mean over pairs of different scans."""
    n = len(similarity)
    return float((similarity.sum() - np.trace(similarity)) / (n * (n - 1)))
