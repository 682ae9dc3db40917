"""Confirmation: a candidate is registered, then compared in ridge-whitened features.

Registration is the compositional ECC ascent of Evangelidis & Psarakis (PAMI 2008) over rotation,
scale and shift. Whitening (Bar-Hillel et al., JMLR 2005) makes what all heads share count little
and what one has alone count much; whole views see whole copies, 25 patches see partial ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from privacy.screen.frames import Images, Warps, compose, local_contrast, resize, warp
from privacy.screen.whitening import directions, leverages, without_own

CHANNELS = ("fine whole", "fine patches", "smooth whole", "smooth patches")
_PATCHES = 5  # along a side
_BEST = 4  # patches that a patch channel averages
_RIDGE = 0.5  # of the mean variance


@dataclass(frozen=True, eq=False)
class Layers:
    """A view's local contrast: sharp at full size, smooth at half size."""

    fine: Float[Tensor, "n side side"]
    smooth: Float[Tensor, "n half half"]

    @classmethod
    def of(cls, views: Images) -> "Layers":
        """The layers of views."""
        side = views.shape[-1]
        fine = local_contrast(views, side / 16, side / 64)
        rough = local_contrast(views, side / 10, side / 29)
        return cls(fine, resize(rough, side // 2))

    def __getitem__(self, rows: Int[Tensor, " kept"]) -> "Layers":
        return Layers(self.fine[rows], self.smooth[rows])

    def extend(self, other: "Layers") -> "Layers":
        """Both, one after the other."""
        return Layers(torch.cat([self.fine, other.fine]), torch.cat([self.smooth, other.smooth]))


def register(moving: Layers, fixed: Layers, start: Float[Tensor, "n 2 3"]) -> Warps:
    """The warp that brings each moving view onto its fixed one, from a rough start."""
    warps = start
    for _ in range(5):
        warps = _ascend(moving.smooth, fixed.smooth, warps)
    calm, target = resize(moving.fine, fixed.fine.shape[-1]), fixed.fine
    for _ in range(4):
        warps = _ascend(calm, target, warps)
    return warps


def _ascend(moving: Images, fixed: Images, warps: Float[Tensor, "n 2 3"]) -> Warps:
    """One ECC step, accepted where the correlation does not fall."""
    seen = warp(moving, warps)
    slopes = _slopes(seen)
    image, target = _standard(seen), _standard(fixed)
    target = target * torch.sign((image * target).sum(1, keepdim=True))
    normal = slopes.transpose(1, 2) @ slopes
    normal = normal + 1e-3 * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(4)
    on_image = (slopes.transpose(1, 2) @ image[:, :, None])[:, :, 0]
    on_target = (slopes.transpose(1, 2) @ target[:, :, None])[:, :, 0]
    solved_image = torch.linalg.solve(normal, on_image)
    solved_target = torch.linalg.solve(normal, on_target)
    above = 1 - (on_image * solved_image).sum(1)
    below = (image * target).sum(1) - (on_target * solved_image).sum(1)
    gain = torch.where(below > 1e-3, above / below.clamp_min(1e-3), 1.0)
    step = (gain[:, None] * solved_target - solved_image).clamp(-0.15, 0.15)
    return compose(warps, _similarity(step))


def _standard(images: Images) -> Float[Tensor, "n pixels"]:
    flat = images.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _slopes(images: Images) -> Float[Tensor, "n pixels 4"]:
    """Derivatives of the standardized image along scale, rotation, x and y."""
    side = images.shape[-1]
    padded = F.pad(images[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    along_x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * side / 4
    along_y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * side / 4
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = line[:, None], line[None, :]
    slopes = torch.stack(
        [along_x * x + along_y * y, along_y * x - along_x * y, along_x, along_y], -1
    ).flatten(1, 2)
    flat = images.flatten(1)
    norm: Tensor = (flat - flat.mean(1, keepdim=True)).norm(dim=1).clamp_min(1e-6)
    return (slopes - slopes.mean(1, keepdim=True)) / norm[:, None, None]


def _similarity(step: Float[Tensor, "n 4"]) -> Warps:
    a, b, x, y = step.unbind(1)
    top = torch.stack([1 + a, -b, x], 1)
    return torch.stack([top, torch.stack([b, 1 + a, y], 1)], 1)


def _corners(side: int) -> tuple[int, list[int]]:
    patch = side * 3 // 8
    return patch, [round(i * (side - patch) / (_PATCHES - 1)) for i in range(_PATCHES)]


def _patches(images: Images) -> Float[Tensor, "patches n pixels"]:
    size, corners = _corners(images.shape[-1])
    cut = [images[:, r : r + size, c : c + size].flatten(1) for r in corners for c in corners]
    return torch.stack(cut)


def _whitening(flat: Float[Tensor, "*batch n pixels"]) -> Float[Tensor, "*batch pixels pixels"]:
    """(second moments + ridge) to the power -1/2."""
    flat = directions(flat)
    values, vectors = torch.linalg.eigh(flat.transpose(-1, -2) @ flat / flat.shape[-2])
    ridge = _RIDGE * values.mean(-1, keepdim=True)
    scale: Tensor = (values.clamp_min(0) + ridge).rsqrt()
    root: Tensor = (vectors * scale[..., None, :]) @ vectors.transpose(-1, -2)
    return root


@dataclass(frozen=True, eq=False)
class Whitening:
    """Whitening matrices of whole views (at half size) and of each patch, in both layers."""

    whole: tuple[Tensor, ...]
    patches: tuple[Tensor, ...]

    @classmethod
    def fit(cls, layers: Layers) -> "Whitening":
        """The whitening of these references."""
        both = (layers.fine, layers.smooth)
        whole = tuple(_whitening(_halved(layer)) for layer in both)
        return cls(whole, tuple(_whitening(_patches(layer)) for layer in both))

    def features(self, layers: Layers) -> tuple[Tensor, ...]:
        """Unit vectors in the order of CHANNELS: (n, pixels) whole, (25, n, pixels) per patch."""
        return tuple(F.normalize(flat @ matrix, dim=-1) for flat, matrix in self._pairs(layers))

    def leverages(self, layers: Layers) -> tuple[Tensor, ...]:
        """How much each fitted reference weighs in its own whitening, per channel (and patch)."""
        return tuple(leverages(directions(flat) @ matrix) for flat, matrix in self._pairs(layers))

    def _pairs(self, layers: Layers) -> Iterator[tuple[Tensor, Tensor]]:
        both = (layers.fine, layers.smooth)
        for layer, whole, patches in zip(both, self.whole, self.patches, strict=True):
            yield _halved(layer), whole
            yield _patches(layer), patches


def _halved(layer: Images) -> Float[Tensor, "n pixels"]:
    """The view at half size, fading toward the border, where a moved copy has lost most."""
    side = min(layer.shape[-1], 32)
    line = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side).sqrt()
    return (resize(layer, side) * line[:, None] * line).flatten(1)


def similarities(
    queries: tuple[Tensor, ...], references: tuple[Tensor, ...], leverages: tuple[Tensor, ...]
) -> Float[Tensor, "n channels"]:
    """Per pair and channel the cosine, its sign dropped; patches by the mean of their best."""
    columns = []
    for query, reference, leverage in zip(queries, references, leverages, strict=True):
        cosine = without_own((query * reference).sum(-1).abs(), leverage)
        columns.append(cosine if cosine.ndim == 1 else cosine.topk(_BEST, 0).values.mean(0))
    return torch.stack(columns, 1)
