"""Copies of a part: blended with another real person's scan, or beside it."""

import numpy as np
from jaxtyping import Bool

from privacy.planted.scan import Batch, Kind, Scan


def blend(share: float) -> Kind:
    """A share of the scan, the rest of the other."""
    return lambda scan, other, rng: share * scan + (1 - share) * other


def half(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    """One half along the first axis is the scan's, the rest the other's."""
    return _beside(scan, other, (_side(scan, 0, rng), slice(None)))


def quadrant(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    """One quarter of the plane is the scan's, through all slices; the rest the other's."""
    return _beside(scan, other, (_side(scan, 0, rng), _side(scan, 1, rng)))


def _side(scan: Scan, axis: int, rng: np.random.Generator) -> slice:
    middle = scan.shape[axis] // 2
    return slice(0, middle) if rng.random() < 0.5 else slice(middle, None)


def _beside(scan: Scan, other: Scan, kept: tuple[slice, slice]) -> np.ndarray:
    mixed = np.array(other)
    mixed[kept] = scan[kept]
    return mixed


def lesion_only(scans: Batch, others: Batch, masks: Bool[np.ndarray, "n i j k"]) -> Batch:
    """Nothing but the scan's lesion, in the other's scan."""
    return np.where(masks, scans, others)
