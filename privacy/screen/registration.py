"""Registration: the rotation, scale and shift that bring a query onto a candidate.

The compositional ECC ascent of Evangelidis & Psarakis (PAMI 2008), from the probe that found the
candidate.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from privacy.screen.confirm import Layers
from privacy.screen.frames import Images, Warps, compose, resize, warp

_BLANK = 1e-6  # keeps the system solvable where a view has no contrast


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
    ridge = 1e-3 * normal.diagonal(dim1=1, dim2=2).mean(1) + _BLANK
    normal = normal + ridge[:, None, None] * torch.eye(4)
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
