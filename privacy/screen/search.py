"""Candidates: which real scans a query may copy, however it was turned, scaled, moved or inverted.

Each query is seen through some thousand probes (8 orientations, rotations, scales, shifts). Probe
and reference meet in a whitened space of principal components, where common anatomy counts little;
the closest subjects go on to confirmation, with the probe that found them.
"""

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from privacy.screen.frames import Images, Warps, local_contrast, resize
from privacy.screen.whitening import directions, leverages, without_own

GRID = 24  # pixels of a probe's side
SHIFTS = tuple(range(-3, 4))  # pixels of that grid
ROTATIONS = (-24, -12, 0, 12, 24)  # degrees
SCALES = (0.87, 1.0, 1.15)
COMPONENTS = 96
NUM_CANDIDATES = 12  # subjects
BLOCK = 4096  # references compared at once, so that memory stays bounded
_PAD = max(SHIFTS)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Per query the closest references, one per subject, and the warp that found each."""

    references: Int[Tensor, "queries candidates"]
    warps: Float[Tensor, "queries candidates 2 3"]

    def extend(self, others: "Candidates") -> "Candidates":
        """These, then the others."""
        return Candidates(
            torch.cat([self.references, others.references], 1),
            torch.cat([self.warps, others.warps], 1),
        )


def orientations() -> Float[Tensor, "8 2 2"]:
    """The dihedral group of the square: mirror images and quarter turns."""
    flips = [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)]
    straight = [[[a, 0.0], [0.0, b]] for a, b in flips]
    return torch.tensor(straight + [[[0.0, a], [b, 0.0]] for a, b in flips])


def _linear_probes() -> Float[Tensor, "probes 2 2"]:
    turns = [
        [[s * cos(radians(a)), -s * sin(radians(a))], [s * sin(radians(a)), s * cos(radians(a))]]
        for a in ROTATIONS
        for s in SCALES
    ]
    return (orientations()[:, None] @ torch.tensor(turns)).reshape(-1, 2, 2)


_LINEAR = _linear_probes()
_OFFSETS = torch.tensor([(column, row) for row in SHIFTS for column in SHIFTS]) * 2.0 / GRID


def _canvas_grid() -> Float[Tensor, "probes height width 2"]:
    line = (torch.arange(-_PAD, GRID + _PAD) + 0.5) * 2 / GRID - 1
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([columns, rows], -1).reshape(-1, 2)
    side = len(line)
    return torch.einsum("pab,nb->pna", _LINEAR, points).reshape(-1, side, side, 2)


_CANVAS = _canvas_grid()


def _taper() -> Float[Tensor, " pixels"]:
    """Weights that fade toward the border, where a moved copy has lost what it showed."""
    line = torch.sin(torch.pi * (torch.arange(GRID) + 0.5) / GRID).sqrt()
    return (line[:, None] * line[None, :]).flatten()


def probe_images(views: Images) -> Float[Tensor, "n grid grid"]:
    """Small images of local contrast, as probes and references are compared."""
    side = views.shape[-1]
    return resize(local_contrast(views, side / 16, side / 48), GRID)


def see_through_probes(images: Images) -> Float[Tensor, "n probes pixels"]:
    """Every query through every probe, probes ordered by orientation, turn, scale, shift."""
    n, num = len(images), len(_CANVAS)
    canvas = F.grid_sample(images[None].expand(num, -1, -1, -1), _CANVAS, align_corners=False)
    step = SHIFTS[1] - SHIFTS[0]
    windows = canvas.unfold(2, GRID, step).unfold(3, GRID, step)
    return windows.permute(1, 0, 2, 3, 4, 5).reshape(n, num * len(_OFFSETS), GRID * GRID)


def probe_warps(probes: Int[Tensor, " n"]) -> Warps:
    """The warp of each numbered probe."""
    linear = _LINEAR[probes // len(_OFFSETS)]
    offset = _OFFSETS[probes % len(_OFFSETS)]
    return torch.cat([linear, linear @ offset[:, :, None]], 2)


@dataclass(frozen=True, eq=False)
class Search:
    """A whitened space in which queries meet references."""

    basis: Float[Tensor, "pixels components"]

    @classmethod
    def fit(cls, views: Images) -> "Search":
        """Whitening of these views; uncentered, so that an inverted scan is its own negative."""
        taper = _taper()
        flat = directions(probe_images(views).flatten(1) * taper)
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        num = min(COMPONENTS, len(flat) // 2)
        scale = (values[-num:] + 0.1 * values[-num:].mean()).rsqrt()
        return cls(taper[:, None] * vectors[:, -num:] * scale)

    def embed(self, views: Images) -> Float[Tensor, "n components"]:
        """References in the whitened space, unit length."""
        return F.normalize(probe_images(views).flatten(1) @ self.basis, dim=1)

    def leverages(self, views: Images) -> Float[Tensor, " n"]:
        """How much each of the fitted references weighs in its own whitening."""
        return leverages(
            directions(probe_images(views).flatten(1) * _taper()) @ (self.basis / _taper()[:, None])
        )

    def find(
        self,
        queries: Images,
        references: Float[Tensor, "refs components"],
        weights: Float[Tensor, " refs"],
        subjects: Int[np.ndarray, " refs"],
    ) -> Candidates:
        """The closest subjects' closest scans; `subjects` numbers the owner of each reference."""
        owners = torch.from_numpy(subjects)
        best = [self._best_probes(image[None], references) for image in probe_images(queries)]
        scores = without_own(torch.stack([score for score, _ in best]), weights)
        probes = torch.stack([probe for _, probe in best])
        chosen = torch.stack([closest_subjects(row, owners, NUM_CANDIDATES) for row in scores])
        warps = probe_warps(probes.gather(1, chosen).flatten())
        return Candidates(chosen, warps.reshape(*chosen.shape, 2, 3))

    def _best_probes(
        self, image: Images, references: Float[Tensor, "refs components"]
    ) -> tuple[Float[Tensor, " refs"], Int[Tensor, " refs"]]:
        probes = F.normalize(see_through_probes(image)[0] @ self.basis, dim=1)
        blocks = [(probes @ block.T).abs_().max(0) for block in torch.split(references, BLOCK)]
        return torch.cat([b.values for b in blocks]), torch.cat([b.indices for b in blocks])


def closest_subjects(
    scores: Float[Tensor, " refs"], owners: Int[Tensor, " refs"], at_most: int
) -> Int[Tensor, " candidates"]:
    """The closest scan of each of the closest subjects."""
    order = scores.argsort(descending=True, stable=True).numpy()
    _, first = np.unique(owners[order].numpy(), return_index=True)
    return torch.from_numpy(order[np.sort(first)[:at_most]].copy())
