"""What is compared of a registered pair: ridge-whitened whole views and patches.

Whitening (Bar-Hillel et al., JMLR 2005) makes what all heads share count little and what one has
alone count much; whole views see whole copies, 25 patches see partial ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from privacy.screen.frames import Images, Warps, local_contrast, resize, warp
from privacy.screen.whitening import directions, leverages

PATCHES = 5  # along a side
_RIDGE = 0.1  # of the mean variance
_NUISANCE = 3.0  # how much a direction by which copies change themselves counts against it


@dataclass(frozen=True, eq=False)
class Layers:
    """A view's local contrast: sharp at full size; smooth, and over a wider field, at half size."""

    fine: Float[Tensor, "n side side"]
    smooth: Float[Tensor, "n half half"]
    broad: Float[Tensor, "n half half"]

    @classmethod
    def of(cls, views: Images) -> "Layers":
        """The layers of views."""
        side = views.shape[-1]
        fine = local_contrast(views, side / 16, side / 64)
        smooth = resize(local_contrast(views, side / 10, side / 29), side // 2)
        return cls(fine, smooth, resize(local_contrast(views, side / 4, side / 24), side // 2))

    def __getitem__(self, rows: Int[Tensor, " kept"]) -> "Layers":
        return Layers(self.fine[rows], self.smooth[rows], self.broad[rows])

    def extend(self, other: "Layers") -> "Layers":
        """Both, one after the other."""
        return Layers(
            torch.cat([self.fine, other.fine]),
            torch.cat([self.smooth, other.smooth]),
            torch.cat([self.broad, other.broad]),
        )

    def seen_through(self, warps: Warps) -> "Layers":
        """Each view through its warp."""
        return Layers(warp(self.fine, warps), warp(self.smooth, warps), warp(self.broad, warps))


def _corners(side: int, share: float) -> tuple[int, list[int]]:
    patch = int(side * share)
    return patch, [round(i * (side - patch) / (PATCHES - 1)) for i in range(PATCHES)]


def _patches(images: Images, share: float) -> Float[Tensor, "patches n pixels"]:
    images = resize(images, min(images.shape[-1], 32))
    size, corners = _corners(images.shape[-1], share)
    cut = [images[:, r : r + size, c : c + size].flatten(1) for r in corners for c in corners]
    return torch.stack(cut)


def _whitening(
    flat: Float[Tensor, "*batch n pixels"], changed: Float[Tensor, "*batch m pixels"]
) -> Float[Tensor, "*batch pixels pixels"]:
    """(second moments + those of the nuisances + ridge) to the power -1/2."""
    flat, changed = directions(flat), directions(changed)
    own = flat.repeat(*[1] * (flat.ndim - 2), changed.shape[-2] // flat.shape[-2], 1)
    left = changed - (changed * own).sum(-1, keepdim=True) * own
    moments = _moments(flat)
    values, vectors = torch.linalg.eigh(moments + _NUISANCE * _moments(left))
    ridge = _RIDGE * moments.diagonal(dim1=-1, dim2=-2).mean(-1, keepdim=True)
    scale: Tensor = (values.clamp_min(0) + ridge).rsqrt()
    root: Tensor = (vectors * scale[..., None, :]) @ vectors.transpose(-1, -2)
    return root


def _moments(flat: Float[Tensor, "*batch n pixels"]) -> Float[Tensor, "*batch pixels pixels"]:
    moments: Tensor = flat.transpose(-1, -2) @ flat / flat.shape[-2]
    return moments


@dataclass(frozen=True, eq=False)
class Whitening:
    """One matrix for a channel of whole views, one per patch for a channel of patches."""

    matrices: tuple[Tensor, ...]

    @classmethod
    def fit(cls, layers: Layers, changed: Layers) -> "Whitening":
        """The whitening of these references; `changed` are variants of them, in the same order."""
        flat, other = _by_channel(layers), _by_channel(changed)
        return cls(tuple(_whitening(*pair) for pair in zip(flat, other, strict=True)))

    def features(self, layers: Layers) -> tuple[Tensor, ...]:
        """Unit vectors of fine whole, fine patches, broad whole and smooth patches.

        Whole views are (n, pixels), patches (25, n, pixels).
        """
        return tuple(F.normalize(flat @ matrix, dim=-1) for flat, matrix in self._pairs(layers))

    def leverages(self, layers: Layers) -> tuple[Tensor, ...]:
        """How much each fitted reference weighs in its own whitening, per channel (and patch)."""
        return tuple(leverages(directions(flat) @ matrix) for flat, matrix in self._pairs(layers))

    def _pairs(self, layers: Layers) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(_by_channel(layers), self.matrices, strict=True)


def _by_channel(layers: Layers) -> tuple[Tensor, ...]:
    """What `features` whitens."""
    return (
        _halved(layers.fine),
        _patches(layers.fine, 0.5),
        _halved(layers.broad),
        _patches(layers.smooth, 0.375),
    )


def _halved(layer: Images) -> Float[Tensor, "n pixels"]:
    """The view at half size, fading toward the border, where a moved copy has lost most."""
    side = min(layer.shape[-1], 32)
    line = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side).sqrt()
    return (resize(layer, side) * line[:, None] * line).flatten(1)
