"""Scans as the copying attacks compare them: whole views in ridge-whitened local contrast.

The whitening is fitted on members and controls alike, not on synthetic scans or anybody else. Left
alone, two fitted scans look farther apart than a fitted and a fresh one do. Leaving both scans of
a pair out of the whitening mends that: with leverages a, b and cosine c it becomes (Woodbury)

    c / sqrt((1 - a (1 - c^2)) (1 - b (1 - c^2))),

where a fresh scan has leverage 0; the screen's `without_own` is the case b = 0. This is exact
because the whitening keeps all directions and its ridge does not depend on the scans. The screen's
own features would not do: `Search` keeps its largest components, chosen by the fitted scans, and
there controls stay farther from members than fresh people are.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from privacy.folds import Fold
from privacy.screen.frames import Images, local_contrast, resize, to_views
from privacy.screen.whitening import directions, leverages

_GRID = 32  # pixels of a side, at most
_LAYERS = ((16, 64), (10, 29))  # parts of a side: field of the contrast, smoothing before it
_RIDGE = 0.5  # of the mean variance of directions, which is 1 / pixels


@dataclass(frozen=True, eq=False)
class Features:
    """Unit vectors per view and layer, their leverages in the whitening, and whose scans they are.

    Synthetic scans are each a subject of its own.
    """

    parts: tuple[Float[np.ndarray, "n _"], ...]
    leverages: tuple[Float[np.ndarray, " n"], ...]
    subjects: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.subjects)

    def __getitem__(self, rows: Int[np.ndarray, " kept"]) -> "Features":
        parts = tuple(part[rows] for part in self.parts)
        return Features(parts, tuple(h[rows] for h in self.leverages), self.subjects[rows])

    @property
    def num_subjects(self) -> int:
        """How many different subjects."""
        return len(np.unique(self.subjects))

    @property
    def vectors(self) -> Float[np.ndarray, "n dim"]:
        """All parts side by side, unit length."""
        return np.concatenate(self.parts, 1) / np.float32(len(self.parts) ** 0.5)

    def of(self, subjects: Int[np.ndarray, " kept"]) -> "Features":
        """All scans of some subjects."""
        return self[np.flatnonzero(np.isin(self.subjects, subjects))]

    def one_each(self, rng: np.random.Generator) -> "Features":
        """One scan of each subject, drawn at random; subjects in ascending order."""
        order = rng.permutation(len(self))
        _, first = np.unique(self.subjects[order], return_index=True)
        return self[order[first]]

    def join(self, other: "Features") -> "Features":
        """Both, one after the other."""
        parts = zip(self.parts, other.parts, strict=True)
        leverages = zip(self.leverages, other.leverages, strict=True)
        return Features(
            tuple(np.concatenate(pair) for pair in parts),
            tuple(np.concatenate(pair) for pair in leverages),
            np.concatenate([self.subjects, other.subjects]),
        )


def copying_features(
    synthetic: Float[np.ndarray, "n i j k"], members: Fold, controls: Fold
) -> tuple[Features, Features, Features]:
    """Features of synthetic scans, members and controls, whitened by the real ones."""
    num = len(members.subjects)
    real = _contrasts(np.concatenate([members.volumes, controls.volumes]))
    roots = [_whitening(flat) for flat in real]
    whitened = [flat @ root for flat, root in zip(real, roots, strict=True)]
    fresh = [flat @ root for flat, root in zip(_contrasts(synthetic), roots, strict=True)]
    weights = [leverages(flat) for flat in whitened]
    none = [torch.zeros(len(synthetic)) for _ in fresh]
    return (
        _features(fresh, none, np.arange(len(synthetic))),
        _features([w[:num] for w in whitened], [h[:num] for h in weights], members.subjects),
        _features([w[num:] for w in whitened], [h[num:] for h in weights], controls.subjects),
    )


def _contrasts(volumes: Float[np.ndarray, "n i j k"]) -> list[Float[Tensor, "n pixels"]]:
    """Unit vectors of local contrast, per view and layer."""
    views = to_views(volumes)
    return [
        _contrast(views[:, view], *layer) for view in range(views.shape[1]) for layer in _LAYERS
    ]


def _contrast(views: Images, field: int, smoothing: int) -> Float[Tensor, "n pixels"]:
    """Fading toward the border, where a moved copy has lost most."""
    side = views.shape[-1]
    seen = resize(local_contrast(views, side / field, side / smoothing), min(side, _GRID))
    line = torch.sin(torch.pi * (torch.arange(seen.shape[-1]) + 0.5) / seen.shape[-1]).sqrt()
    return directions((seen * line[:, None] * line).flatten(1))


def _whitening(flat: Float[Tensor, "n pixels"]) -> Float[Tensor, "pixels pixels"]:
    """(second moments + ridge) to the power -1/2."""
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    root: Tensor = vectors * (values.clamp_min(0) + _RIDGE / flat.shape[1]).rsqrt()
    return root


def _features(
    parts: list[Tensor], weights: list[Tensor], subjects: Int[np.ndarray, " n"]
) -> Features:
    units = tuple(F.normalize(part, dim=1).numpy() for part in parts)
    return Features(units, tuple(weight.numpy() for weight in weights), subjects)


def distances(queries: Features, references: Features) -> Float[np.ndarray, "queries references"]:
    """Chord sqrt(2 - 2c) of the mean cosine over parts, both scans left out of the whitening."""
    total = np.zeros((len(queries), len(references)), np.float32)
    for query, reference, own, theirs in zip(
        queries.parts, references.parts, queries.leverages, references.leverages, strict=True
    ):
        cosine = query @ reference.T
        apart = 1 - np.minimum(cosine**2, 1)
        total += cosine / np.sqrt((1 - own[:, None] * apart) * (1 - theirs * apart))
    chords: Float[np.ndarray, "queries references"] = np.sqrt(
        np.maximum(2 - 2 * total / len(queries.parts), 0)
    )
    return chords


def by_subject(
    found: Float[np.ndarray, "queries references"], subjects: Int[np.ndarray, " references"]
) -> Float[np.ndarray, "queries subjects"]:
    """Distance of each query to the nearest scan of each subject, subjects in ascending order."""
    order = np.argsort(subjects, kind="stable")
    _, starts = np.unique(subjects[order], return_index=True)
    nearest: Float[np.ndarray, "queries subjects"] = np.minimum.reduceat(
        found[:, order], starts, axis=1
    )
    return nearest


def apart_from_own(features: Features) -> Float[np.ndarray, "n n"]:
    """Distances among scans, infinite between those of one subject."""
    found = distances(features, features)
    found[features.subjects[:, None] == features.subjects] = np.inf
    return found
