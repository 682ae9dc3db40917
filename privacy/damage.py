"""Damaged scans: unlike all others of an archive in a plain fact, whatever they show.

Motion, a failed registration or skull-strip, an empty or cut field of view. Only a person can tell
damage from disease; the list is short and errs on the side of looking.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from privacy.screen.frames import Images, to_views

_LOWEST = (-3.2, -4.0, -5.0)  # robust spreads from the median: likeness, sharpness, filled share
_SHARPEST = 4.0
_FILLED = 0.1  # of the intensity window
_FLOOR = 1e-6


def are_damaged(volumes: Float[np.ndarray, "n i j k"]) -> Bool[np.ndarray, " n"]:
    """Scans far from the median in likeness to the median scan, in sharpness, or in what is filled.

    A volume is judged by each of its views.
    """
    views = to_views(volumes)
    far = [_are_far(views[:, view]) for view in range(views.shape[1])]
    return np.array(np.any(far, axis=0))


def _are_far(views: Images) -> Bool[np.ndarray, " n"]:
    facts = torch.stack([_likeness(views), _sharpness(views), _filled(views)], 1).numpy()
    off = facts - np.median(facts, 0)
    off /= 1.4826 * np.median(np.abs(off), 0) + _FLOOR  # standard deviations of a normal law
    return np.array((off < np.array(_LOWEST)).any(1) | (off[:, 1] > _SHARPEST))


def _likeness(views: Images) -> Float[Tensor, " n"]:
    """Fisher's z of the correlation with the median of all scans."""
    flat = views.flatten(1)
    middle = flat.median(0).values
    cosine = torch.cosine_similarity(
        flat - flat.mean(1, keepdim=True), (middle - middle.mean())[None]
    )
    return cosine.clamp(-1 + _FLOOR, 1 - _FLOOR).arctanh()


def _sharpness(views: Images) -> Float[Tensor, " n"]:
    """Logarithm of the mean step between neighbors, in units of the scan's spread."""
    steps = views.diff(dim=1).square().mean((1, 2)) + views.diff(dim=2).square().mean((1, 2))
    return (steps.sqrt() / views.flatten(1).std(1).clamp_min(_FLOOR)).clamp_min(_FLOOR).log()


def _filled(views: Images) -> Float[Tensor, " n"]:
    return (views > _FILLED).float().mean((1, 2))
