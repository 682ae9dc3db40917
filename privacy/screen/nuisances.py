"""What a copy may still differ in once it is registered: noise, blur, gray levels, small bends.

The differences between references and such variants of themselves tell the whitening which
directions a copy changes by itself, as within-class scatter does in linear discriminant analysis
(Fisher 1936; Bar-Hillel et al., JMLR 2005). Every reference is treated alike, member or control.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from privacy.screen.frames import Images, smooth, warp

NUM_VARIANTS = 3  # of each reference
_TURN, _SCALE, _SHIFT = 0.026, 0.02, 0.02  # radians; of the size; of half the view
_BEND = 1.2 / 32  # of half the view
_GAMMA = 0.7  # of the logarithm
_BLURS = (0.0, 0.0, 0.8, 1.6)  # sigma at 64 pixels
_NOISE = 0.15  # of the intensity window
_MIXED = 0.4  # at most this share of somebody else


def variants(views: Images, seed: int) -> Float[Tensor, "variants height width"]:
    """NUM_VARIANTS times every view, each changed at random; the order is that of the views."""
    draw = Generator().manual_seed(seed)
    return torch.cat([_changed(views, draw) for _ in range(NUM_VARIANTS)])


def _changed(views: Images, draw: Generator) -> Images:
    strength = _BEND * uniform(len(views), 0.0, 1.0, draw)
    moved = bent(warp(views, _small_moves(len(views), draw)), strength, draw)
    others = views[torch.randperm(len(views), generator=draw)]
    share = uniform(len(views), 0.0, _MIXED, draw) * coins(len(views), 0.3, draw)
    gamma = uniform(len(views), -_GAMMA, _GAMMA, draw).exp()
    gray = blurred(((1 - share) * moved + share * others).clamp(0, 1) ** gamma)
    spread = uniform(len(views), 0.0, _NOISE, draw) * coins(len(views), 0.6, draw)
    return (gray + spread * torch.randn(gray.shape, generator=draw)).clamp(0, 1)


def _small_moves(n: int, draw: Generator) -> Float[Tensor, "n 2 3"]:
    turn, scale = uniform(n, -_TURN, _TURN, draw), 1 + uniform(n, -_SCALE, _SCALE, draw)
    shift = uniform(2 * n, -_SHIFT, _SHIFT, draw).reshape(n, 2, 1)
    across, along = (scale * turn.cos()).flatten(), (scale * turn.sin()).flatten()
    linear = torch.stack([across, -along, along, across], 1).reshape(n, 2, 2)
    return torch.cat([linear, shift], 2)


def bent(images: Images, strength: Float[Tensor, "n 1 1"], draw: Generator) -> Images:
    """Bent by random fields, smooth over an eighth of the view; strength in halves of the view."""
    n, side = len(images), images.shape[-1]
    nodes = strength[..., None] * torch.randn(n, 2, 8, 8, generator=draw)
    bend = F.interpolate(nodes, (side, side), mode="bicubic", align_corners=False)
    still = F.affine_grid(torch.eye(2, 3).expand(n, 2, 3), [n, 1, side, side], align_corners=False)
    grid = still + bend.permute(0, 2, 3, 1)
    return F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def blurred(images: Images) -> Images:
    """Every fourth view as sharp as it was, and so on through the spreads."""
    blurred, unit = images.clone(), images.shape[-1] / 64
    for turn, sigma in enumerate(_BLURS):
        rows = slice(turn, None, len(_BLURS))
        if sigma and len(images[rows]):
            blurred[rows] = smooth(images[rows], sigma * unit)
    return blurred


def uniform(n: int, low: float, high: float, draw: Generator) -> Float[Tensor, "n 1 1"]:
    """A number for each of n views."""
    return low + (high - low) * torch.rand(n, 1, 1, generator=draw)


def coins(n: int, chance: float, draw: Generator) -> Float[Tensor, "n 1 1"]:
    """1 with this chance, else 0, for each of n views."""
    return (torch.rand(n, 1, 1, generator=draw) < chance).float()
