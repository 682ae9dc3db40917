"""What a pair of scans shows: its measures, from which the detector learns what a copy looks like.

A registered pair is compared twice: through the warp that registration found, and through the
probe that found the candidate, since registration goes astray where only a part was copied. Each
time: cosines of whitened whole views and patches, the best windows of patches, and plain local
correlation. All are signed alike, so that an inverted copy counts as a copy.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from privacy.screen.confirm import PATCHES, Layers
from privacy.screen.frames import Images, resize, smooth
from privacy.screen.whitening import without_own

_BY_PATCHES = ("best", "best 4", "best 10", "mean", "2 x 2", "3 x 3", "half")
_SEEN = (
    "fine whole",
    *(f"fine patches, {name}" for name in _BY_PATCHES),
    "broad whole",
    *(f"smooth patches, {name}" for name in _BY_PATCHES),
    "correlation of a quarter",
    "correlation of a half",
    "correlation",
)
QUARTERS = "quarters"
MEASURES = (*_SEEN, *(f"{name}, unregistered" for name in _SEEN), QUARTERS)
CONTEXT = (
    "fine whole",
    "fine patches, mean",
    "broad whole",
    "smooth patches, mean",
    "correlation",
    QUARTERS,
)
"""Measures whose median over a query's candidates tells how well that query can be compared."""
_SIDE, _SIGMA, _FLOOR = 32, 2.0, 1e-3  # of the local correlation, in pixels

Features = tuple[Tensor, ...]


def compare(
    moving: Layers, fixed: Layers, queries: Features, references: Features, leverages: Features
) -> Float[Tensor, "n measures"]:
    """Measures of aligned pairs, in the order of `_SEEN`."""
    cosines = [
        without_own((query * reference).sum(-1), leverage)
        for query, reference, leverage in zip(queries, references, leverages, strict=True)
    ]
    fine, fine_patches, broad, smooth_patches = cosines
    sign = torch.sign(
        5 * fine**3 + (fine_patches**3).sum(0) + 5 * broad**3 + (smooth_patches**3).sum(0)
    )
    return torch.stack(
        [
            fine * sign,
            *_of_patches(fine_patches * sign),
            broad * sign,
            *_of_patches(smooth_patches * sign),
            *_correlations(moving.fine, fixed.fine, sign),
        ],
        1,
    )


def _of_patches(cosines: Float[Tensor, "patches n"]) -> list[Float[Tensor, " n"]]:
    """By the best patches wherever they lie, then by the best windows of neighbors."""
    ranked = cosines.sort(0, descending=True).values
    square = cosines.T.reshape(-1, 1, PATCHES, PATCHES)
    return [
        ranked[0],
        ranked[:4].mean(0),
        ranked[:10].mean(0),
        ranked.mean(0),
        _best_window(square, (2, 2)),
        _best_window(square, (3, 3)),
        torch.maximum(_best_window(square, (2, PATCHES)), _best_window(square, (PATCHES, 2))),
    ]


def _best_window(
    images: Float[Tensor, "n 1 side side"], size: tuple[int, int], stride: int = 1
) -> Float[Tensor, " n"]:
    return F.avg_pool2d(images, size, stride).flatten(1).amax(1)


def _correlations(
    moving: Images, fixed: Images, sign: Float[Tensor, " n"]
) -> list[Float[Tensor, " n"]]:
    """Local correlation of contrast: of the best quarter and half of the view, and of all."""
    a, b = resize(moving, _SIDE), resize(fixed, _SIDE)
    both, own, other = (smooth(product, _SIGMA) for product in (a * b, a * a, b * b))
    local = (both * sign[:, None, None] / (own * other + _FLOOR).sqrt())[:, None]
    half, step = _SIDE // 2, _SIDE // 8
    lying = _best_window(local, (half, _SIDE), step)
    standing = _best_window(local, (_SIDE, half), step)
    return [
        _best_window(local, (half, half), step),
        torch.maximum(lying, standing),
        local.mean((1, 2, 3)),
    ]
