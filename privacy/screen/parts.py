"""Candidates by parts: which real scans a query may hold a half or a quarter of.

A whole view meets a partial copy with most of its pixels wrong. So nine overlapping quarters of the
small probe images are whitened and compared one by one, over the eight orientations and small
shifts; a reference scores by its best quarter.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from privacy.screen.frames import Images, Warps
from privacy.screen.search import (
    BLOCK,
    GRID,
    Candidates,
    closest_subjects,
    orientations,
    probe_images,
)
from privacy.screen.whitening import directions, leverages, without_own

NUM_CANDIDATES = 6  # subjects
_STEP = 6  # pixels between quarters of the 24 x 24 probe image
_SIDE = 12
_SHIFTS = (-2, -1, 0, 1, 2)
_RIDGE = 0.3  # of the mean variance
_PAD = max(_SHIFTS)


@dataclass(frozen=True, eq=False)
class Sightings:
    """Candidates by parts, and the best quarter of every reference."""

    candidates: Candidates
    scores: Float[Tensor, "queries refs"]


@dataclass(frozen=True, eq=False)
class Parts:
    """References by quarters, whitened, with their weights in their own whitening."""

    matrices: Float[Tensor, "quarters pixels pixels"]
    embedded: Float[Tensor, "quarters refs pixels"]
    weights: Float[Tensor, "quarters refs"]

    @classmethod
    def fit(cls, images: Images) -> "Parts":
        """Quarters of these references, whitened by themselves."""
        flat = directions(_quarters(images))
        moments = flat.transpose(1, 2) @ flat / flat.shape[1]
        values, vectors = torch.linalg.eigh(moments)
        scale = (values.clamp_min(0) + _RIDGE * values.mean(-1, keepdim=True)).rsqrt()
        matrices = (vectors * scale[:, None, :]) @ vectors.transpose(1, 2)
        return cls(matrices, F.normalize(flat @ matrices, dim=-1), leverages(flat @ matrices))

    def extend(self, images: Images) -> "Parts":
        """More references, nothing fitted anew."""
        added = F.normalize(_quarters(images) @ self.matrices, dim=-1)
        return Parts(
            self.matrices,
            torch.cat([self.embedded, added], 1),
            torch.cat([self.weights, torch.zeros(added.shape[:2])], 1),
        )

    def keep(self, rows: Int[Tensor, " kept"]) -> "Parts":
        """Some of the references."""
        return Parts(self.matrices, self.embedded[:, rows], self.weights[:, rows])

    def find(self, queries: Images, subjects: Int[np.ndarray, " refs"]) -> "Sightings":
        """Every reference's score, and the closest scans of the closest subjects."""
        owners = torch.from_numpy(subjects)
        best = [self._best_probes(image) for image in probe_images(queries)]
        scores, probes = (torch.stack(pair) for pair in zip(*best, strict=True))
        chosen = torch.stack([closest_subjects(row, owners, NUM_CANDIDATES) for row in scores])
        warps = _warps(probes.gather(1, chosen).flatten())
        return Sightings(Candidates(chosen, warps.reshape(*chosen.shape, 2, 3)), scores)

    def _best_probes(
        self, image: Float[Tensor, "grid grid"]
    ) -> tuple[Float[Tensor, " refs"], Int[Tensor, " refs"]]:
        seen = _quarters(_turned(image))
        probes = F.normalize(seen @ self.matrices, dim=-1)
        blocks = range(0, self.embedded.shape[1], BLOCK)
        found = [self._block(probes, slice(start, start + BLOCK)) for start in blocks]
        return torch.cat([best for best, _ in found]), torch.cat([probe for _, probe in found])

    def _block(
        self, probes: Float[Tensor, "quarters probes pixels"], rows: slice
    ) -> tuple[Float[Tensor, " block"], Int[Tensor, " block"]]:
        cosine = (probes @ self.embedded[:, rows].transpose(1, 2)).abs_()
        fair = without_own(cosine, self.weights[:, None, rows])
        best = fair.amax(0).max(0)
        return best.values, best.indices


def _warps(probes: Int[Tensor, " n"]) -> Warps:
    """The warp of each numbered probe."""
    turns, offsets = orientations(), _offsets() * 2.0 / GRID
    linear, offset = turns[probes // len(offsets)], offsets[probes % len(offsets)]
    return torch.cat([linear, linear @ offset[:, :, None]], 2)


def _offsets() -> Float[Tensor, "shifts 2"]:
    return torch.tensor([(float(column), float(row)) for row in _SHIFTS for column in _SHIFTS])


def _turned(image: Float[Tensor, "side side"]) -> Float[Tensor, "probes side side"]:
    """The query in all orientations, moved by whole pixels; zero where it ends."""
    side = image.shape[-1]
    grids = F.affine_grid(
        torch.cat([orientations(), torch.zeros(8, 2, 1)], 2), [8, 1, side, side],
        align_corners=False,
    )  # fmt: skip
    turned = F.grid_sample(image.expand(8, 1, side, side), grids, align_corners=False)
    windows = F.pad(turned, (_PAD,) * 4).unfold(2, side, 1).unfold(3, side, 1)
    return windows.reshape(-1, side, side)


def _quarters(images: Images) -> Float[Tensor, "quarters n pixels"]:
    corners = range(0, images.shape[-1] - _SIDE + 1, _STEP)
    cut = [images[:, r : r + _SIDE, c : c + _SIDE].flatten(1) for r in corners for c in corners]
    return torch.stack(cut)
