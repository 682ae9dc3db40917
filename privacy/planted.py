"""The battery of planted copies: what the screen must find, or be called too weak to judge.

Each kind turns a real scan (i, j, k) into a copy that somebody might release. Geometry acts in the
plane of the first two axes; lengths are shares of the field of view, the same at every size.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from medsynth.core.protocols import RoundTrip

Scan = Float[np.ndarray, "i j k"]
Batch = Float[np.ndarray, "n i j k"]
Kind = Callable[[Scan, Scan, np.random.Generator], np.ndarray]

ROUND_TRIP = "round_trip"
_SHIFT = (0.08, -0.06)  # of the field of view
_BLUR = 1.5 / 64  # sigma, of the field of view


def _noise(spread: float) -> Kind:
    return lambda scan, other, rng: scan + spread * rng.standard_normal(scan.shape)


def _rotation(degrees: float) -> Kind:
    return lambda scan, other, rng: ndimage.rotate(
        scan, degrees, axes=(0, 1), reshape=False, order=1
    )


def _quarter_turn(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    rows, columns = scan.shape[:2]
    if rows == columns:
        return np.rot90(scan)
    return ndimage.rotate(scan, 90, axes=(0, 1), reshape=False, order=1)


def _shift(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    offset = (_SHIFT[0] * scan.shape[0], _SHIFT[1] * scan.shape[1], 0)
    moved: np.ndarray = ndimage.shift(scan, offset, order=1)
    return moved


def _blur(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    sigma = _BLUR * max(scan.shape)
    spread = [sigma if side > 1 else 0 for side in scan.shape]
    blurred: np.ndarray = ndimage.gaussian_filter(scan, spread)
    return blurred


KINDS: dict[str, Kind] = {
    "exact": lambda scan, other, rng: scan,
    "noise_05": _noise(0.05),
    "noise_10": _noise(0.10),
    "flip": lambda scan, other, rng: scan[::-1],
    "rotation_7": _rotation(7.0),
    "rotation_20": _rotation(20.0),
    "rotation_90": _quarter_turn,
    "shift": _shift,
    "gamma": lambda scan, other, rng: scan**0.5,
    "invert": lambda scan, other, rng: 1 - scan,
    "blur": _blur,
    "blend_70": lambda scan, other, rng: 0.7 * scan + 0.3 * other,
}


def plant(
    kind: str, scans: Batch, others: Batch, *, seed: int, round_trip: RoundTrip | None = None
) -> Batch:
    """Copies of one kind, in [0, 1]; `others` are the scans that blends mix in."""
    if kind == ROUND_TRIP:
        if round_trip is None:
            raise ValueError("a round-trip copy needs the generator's autoencoder, got none")
        return _in_range(round_trip(scans))
    if kind not in KINDS:
        known = ", ".join([*KINDS, ROUND_TRIP])
        raise ValueError(f"a planted kind must be one of {known}, got {kind!r}")
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    turned = [KINDS[kind](scan, other, rng) for scan, other in zip(scans, others, strict=True)]
    return _in_range(np.stack(turned))


def _in_range(volumes: Batch) -> Batch:
    clipped: np.ndarray = np.clip(volumes, 0, 1).astype(np.float32)
    return clipped
