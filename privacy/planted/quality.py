"""Copies that lost detail: blurred, stored as JPEG, sampled down and up again."""

from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

from privacy.planted.scan import Kind, Scan, in_voxels


def blur(share: float) -> Kind:
    """Smoothed; sigma as a share of the field of view."""

    def blurred(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        smooth: np.ndarray = ndimage.gaussian_filter(scan, in_voxels(share, scan))
        return smooth

    return blurred


def jpeg(quality: int) -> Kind:
    """Every plane of the first two axes through an 8-bit JPEG."""

    def stored(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        planes = np.round(255 * np.clip(np.moveaxis(scan, 2, 0), 0, 1)).astype(np.uint8)
        return np.stack([_through_jpeg(plane, quality) for plane in planes], 2) / 255

    return stored


def _through_jpeg(plane: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(plane).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def downsample(factor: int) -> Kind:
    """Averaged to a coarser grid along every axis, and interpolated back."""

    def coarse(scan: Scan, other: Scan, rng: np.random.Generator) -> np.ndarray:
        sides = [max(side // factor, 1) for side in scan.shape]
        spread = [0.5 * factor if side > 1 else 0.0 for side in scan.shape]
        return _zoom(_zoom(ndimage.gaussian_filter(scan, spread), sides), list(scan.shape))

    return coarse


def _zoom(scan: np.ndarray, sides: list[int]) -> np.ndarray:
    factors = [new / old for new, old in zip(sides, scan.shape, strict=True)]
    zoomed: np.ndarray = ndimage.zoom(scan, factors, order=1, mode="nearest", grid_mode=True)
    return zoomed
