"""Copies as somebody might release them, drawn at random: what the detector learns from.

Unlike those of `nuisances` they are turned, mirrored, moved, scaled, mixed with another scan, or
hold only a part of the scan. Not the planted kinds of the self-test: other fields, other ranges.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from privacy.screen.frames import Images, Warps, smooth, warp
from privacy.screen.nuisances import bent, blurred, coins, uniform
from privacy.screen.search import orientations

_TURN, _SCALE, _SHIFT = 0.42, 0.22, 0.20  # radians; logarithm; of half the view
_BEND = 2.0 / 32  # of half the view
_MIXED = 0.5  # at most this share of somebody else
_PART = (0.45, 0.60)  # side of a part, of the view's
_GAMMA, _BIAS, _NOISE = 0.8, 0.3, 0.16  # logarithm; logarithm; of the intensity window


@dataclass(frozen=True, eq=False)
class Disguised:
    """Disguised views, in the order of the originals; each may hold another scan too.

    others: the row of the other scan. shows_both: it holds a part of each. is_mixed: the other
    shines through.
    """

    views: Images
    others: Int[Tensor, " n"]
    shows_both: Bool[Tensor, " n"]
    is_mixed: Bool[Tensor, " n"]


def disguise(views: Images, seed: int) -> Disguised:
    """One random disguise of every view."""
    draw, n = Generator().manual_seed(seed), len(views)
    others = torch.randperm(n, generator=draw)
    moved = bent(warp(views, _moves(n, draw)), _sometimes(n, 0.4, 0.0, _BEND, draw), draw)
    share = _sometimes(n, 0.25, 0.0, _MIXED, draw)
    mixed = (1 - share) * moved + share * views[others]
    shows_both = coins(n, 0.25, draw)
    inside = 1 - shows_both * (1 - _parts(n, views.shape[-1], draw))
    seen = inside * mixed + (1 - inside) * views[others]
    return Disguised(
        _recorded(seen, draw), others, shows_both.flatten().bool(), share.flatten() > 0
    )


def _sometimes(
    n: int, chance: float, low: float, high: float, draw: Generator
) -> Float[Tensor, "n 1 1"]:
    """A number in this range with this chance, else 0."""
    return uniform(n, low, high, draw) * coins(n, chance, draw)


def _moves(n: int, draw: Generator) -> Warps:
    """Orientations, rotations, scales and shifts, each in half of the views."""
    which = torch.randint(8, (n,), generator=draw) * coins(n, 0.5, draw).flatten().long()
    turn = _sometimes(n, 0.5, -_TURN, _TURN, draw)
    scale = _sometimes(n, 0.5, -_SCALE, _SCALE, draw).exp()
    across, along = (scale * turn.cos()).flatten(), (scale * turn.sin()).flatten()
    linear = torch.stack([across, -along, along, across], 1).reshape(n, 2, 2)
    aside = coins(n, 0.5, draw) * _SHIFT * (2 * torch.rand(n, 2, 1, generator=draw) - 1)
    return torch.cat([orientations()[which] @ linear, aside], 2)


def _parts(n: int, side: int, draw: Generator) -> Float[Tensor, "n side side"]:
    """1 inside of a random half or window of the view."""
    is_half, stands = coins(n, 0.4, draw), coins(n, 0.5, draw)
    window = uniform(n, *_PART, draw)
    height = is_half * (0.5 + 0.5 * stands) + (1 - is_half) * window
    width = is_half * (1.0 - 0.5 * stands) + (1 - is_half) * window
    place = torch.rand(2, n, 1, 1, generator=draw)
    place = is_half * place.round() + (1 - is_half) * place
    line = (torch.arange(side) + 0.5) / side
    rows = _between(line[:, None], place[0] * (1 - height), height)
    return rows * _between(line[None, :], place[1] * (1 - width), width)


def _between(line: Tensor, start: Tensor, length: Tensor) -> Tensor:
    return ((line >= start) & (line < start + length)).float()


def _recorded(images: Images, draw: Generator) -> Images:
    """Other gray levels, an uneven field, inversion, blur and noise, each in some."""
    n, side = len(images), images.shape[-1]
    gamma = _sometimes(n, 0.5, -_GAMMA, _GAMMA, draw).exp()
    field = smooth(torch.randn(n, side, side, generator=draw), side / 4)
    field = field / field.std((1, 2), keepdim=True).clamp_min(1e-6)
    gray = images.clamp(0, 1) ** gamma * (_sometimes(n, 0.25, 0.0, _BIAS, draw) * field).exp()
    low = _sometimes(n, 0.3, 0.0, 0.15, draw)
    high = 1 - _sometimes(n, 0.3, 0.0, 0.20, draw)
    window = ((gray - low) / (high - low)).clamp(0, 1)
    inverted = coins(n, 0.1, draw)
    shown = blurred(inverted * (1 - window) + (1 - inverted) * window)
    noise = _sometimes(n, 0.5, 0.0, _NOISE, draw) * torch.randn(shown.shape, generator=draw)
    return (shown + noise).clamp(0, 1)
