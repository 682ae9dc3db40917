"""Scans as the screen looks at them: square views of one size, local contrast, similarity warps.

Local contrast (after Jarrett et al., ICCV 2009) forgets windowing and gamma. A warp is a 2x3 matrix
from template to source coordinates, both in [-1, 1], columns first (torch's `grid_sample`).
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

SIDES = (32, 48, 64)  # pixels; a view is as large as its scan, up to the last
_FLOOR = 0.025  # contrast below this counts as noise, in units of the intensity window

Images = Float[Tensor, "n height width"]
Warps = Float[Tensor, "n 2 3"]


def to_views(volumes: Float[np.ndarray, "n i j k"]) -> Float[Tensor, "n views side side"]:
    """Square views: the slice itself, or the mean of a central slab along each axis of a volume."""
    planes = [volumes[..., 0]] if volumes.shape[3] == 1 else _slabs(volumes)
    side = next((s for s in SIDES if s >= max(volumes.shape[1:])), SIDES[-1])
    return torch.stack([_square(plane, side) for plane in planes], 1)


def _slabs(volumes: Float[np.ndarray, "n i j k"]) -> list[Float[np.ndarray, "n rows columns"]]:
    slabs = []
    for axis in (3, 2, 1):
        depth = volumes.shape[axis]
        middle = np.arange(depth)[depth * 2 // 5 : max(depth * 3 // 5, depth * 2 // 5 + 1)]
        slabs.append(volumes.take(middle, axis).mean(axis))
    return slabs


def _square(plane: Float[np.ndarray, "n rows columns"], side: int) -> Float[Tensor, "n side side"]:
    rows, columns = plane.shape[1:]
    longest = max(rows, columns)
    top, left = (longest - rows) // 2, (longest - columns) // 2
    margins = ((0, 0), (top, longest - rows - top), (left, longest - columns - left))
    padded = torch.from_numpy(np.pad(plane.astype(np.float32), margins))
    return resize(padded, side)


def resize(images: Images, side: int) -> Float[Tensor, "n side side"]:
    """Images at another size, without aliasing."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(
        images[:, None], (side, side), mode="bilinear", antialias=True, align_corners=False
    )[:, 0]


def smooth(images: Images, sigma: float) -> Images:
    """Gaussian smoothing, sigma in pixels."""
    radius = int(np.ceil(2.5 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    line = (line / line.sum()).to(images.dtype)
    padded = F.pad(images[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line[None, None, None]), line[None, None, :, None])[:, 0]


def local_contrast(images: Images, sigma: float, presmooth: float) -> Images:
    """Deviation from the local mean in units of the local spread, after smoothing against noise."""
    calm = smooth(images, presmooth)
    deviation = calm - smooth(calm, sigma)
    spread = smooth(deviation.square(), sigma).clamp_min(0).sqrt()
    return deviation / (spread + _FLOOR)


def warp(images: Images, warps: Warps) -> Images:
    """Each image seen through its warp; 0 where it ends."""
    shape = [len(images), 1, *images.shape[1:]]
    grid = F.affine_grid(warps, shape, align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def compose(outer: Float[Tensor, "n 2 3"], inner: Float[Tensor, "n 2 3"]) -> Warps:
    """The warp that applies `inner` to the template's coordinates, then `outer`."""
    linear = outer[:, :, :2] @ inner
    linear[:, :, 2] += outer[:, :, 2]
    return linear
