"""What every family of kinds works on: a scan, another person's scan, a source of chance."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Scan = Float[np.ndarray, "i j k"]
Batch = Float[np.ndarray, "n i j k"]
Kind = Callable[[Scan, Scan, np.random.Generator], np.ndarray]
"""(scan, another person's scan, chance) -> a copy of the scan."""

PIXEL = 1 / 64
"""One pixel of the battery's reference grid, as a share of the field of view."""


def in_voxels(share: float, scan: Scan) -> list[float]:
    """A length as a share of the field of view, in voxels along each axis; 0 along a single one."""
    return [share * side if side > 1 else 0.0 for side in scan.shape]


def in_turn(*kinds: Kind) -> Kind:
    """One kind after the other."""

    def combined(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        copy: np.ndarray = scan
        for kind in kinds:
            copy = np.clip(kind(copy, other, rng), 0, 1)
        return copy

    return combined
