"""Copies whose gray values were changed: noise, gamma, window, brightness, bias field."""

import numpy as np
from scipy import ndimage

from privacy.planted.scan import Kind, Scan, in_voxels

_WINDOW = (0.15, 0.75)  # shown from black to white
_BIAS = 0.4  # largest change of the logarithm, either way
_BIAS_WAVE = 0.25  # of the field of view


def noise(spread: float) -> Kind:
    """Gaussian noise on every voxel."""
    return lambda scan, other, rng: scan + spread * rng.standard_normal(scan.shape)


def gamma(power: float) -> Kind:
    """Every value raised to a power."""
    return lambda scan, other, rng: scan**power


def brightness(factor: float) -> Kind:
    """Every value times a factor; what passes white is cut."""
    return lambda scan, other, rng: scan * factor


def contrast(factor: float) -> Kind:
    """Every value's distance from the mean times a factor."""
    return lambda scan, other, rng: scan.mean() + factor * (scan - scan.mean())


def invert(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    """Black for white."""
    return 1 - scan


def window(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    """The middle of the gray scale stretched, both ends cut."""
    low, high = _WINDOW
    return (scan - low) / (high - low)


def bias_field(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
    """Times a smooth random field, as an uneven coil would."""
    field = ndimage.gaussian_filter(
        rng.standard_normal(scan.shape), in_voxels(_BIAS_WAVE, scan), mode="reflect"
    )
    field -= field.mean()
    brighter: np.ndarray = scan * np.exp(_BIAS * field / max(np.abs(field).max(), 1e-12))
    return brighter
