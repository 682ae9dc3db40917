"""The index: every real scan as the screen compares it, and the comparison of queries with it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from privacy.screen.confirm import Layers, Whitening
from privacy.screen.frames import Images, to_views
from privacy.screen.measures import MEASURES, compare
from privacy.screen.nuisances import variants
from privacy.screen.parts import Parts
from privacy.screen.registration import register
from privacy.screen.search import Search, probe_images

_BATCH = 16  # queries scored together


@dataclass(frozen=True, eq=False)
class Matches:
    """Per query, view and candidate: the subject's number and every one of MEASURES."""

    subjects: Int[np.ndarray, "queries views candidates"]
    measures: Float[np.ndarray, "queries views candidates measures"]
    is_exact: Bool[np.ndarray, " queries"]


@dataclass(frozen=True, eq=False)
class ViewIndex:
    """References of one view: how they are found, and the features that confirm them."""

    search: Search
    parts: Parts
    whitening: Whitening
    embedded: Float[Tensor, "refs components"]
    weights: Float[Tensor, " refs"]
    layers: Layers
    features: tuple[Tensor, ...]
    leverages: tuple[Tensor, ...]

    @classmethod
    def fit(cls, views: Images, seed: int = 0) -> "ViewIndex":
        """An index whose whitening is that of its own references and of their drawn variants."""
        search, layers = Search.fit(views), Layers.of(views)
        whitening = Whitening.fit(layers, Layers.of(variants(views, seed)))
        features, leverages = whitening.features(layers), whitening.leverages(layers)
        embedded, weights = search.embed(views), search.leverages(views)
        parts = Parts.fit(probe_images(views))
        return cls(search, parts, whitening, embedded, weights, layers, features, leverages)

    def extend(self, views: Images) -> "ViewIndex":
        """More references, nothing fitted anew."""
        layers = Layers.of(views)
        added = self.whitening.features(layers)
        pairs = zip(self.features, added, strict=True)
        weightless = [torch.zeros(feature.shape[:-1]) for feature in added]
        weights = zip(self.leverages, weightless, strict=True)
        return replace(
            self,
            parts=self.parts.extend(probe_images(views)),
            embedded=torch.cat([self.embedded, self.search.embed(views)]),
            weights=torch.cat([self.weights, torch.zeros(len(views))]),
            layers=self.layers.extend(layers),
            features=tuple(torch.cat(pair, -2) for pair in pairs),
            leverages=tuple(torch.cat(pair, -1) for pair in weights),
        )

    def keep(self, rows: Int[Tensor, " kept"]) -> "ViewIndex":
        """Some of the references."""
        return replace(
            self,
            parts=self.parts.keep(rows),
            embedded=self.embedded[rows],
            weights=self.weights[rows],
            layers=self.layers[rows],
            features=_rows(self.features, rows),
            leverages=tuple(leverage[..., rows] for leverage in self.leverages),
        )

    def match(
        self, views: Images, owners: Int[np.ndarray, " refs"]
    ) -> tuple[Int[Tensor, "n candidates"], Float[Tensor, "n candidates measures"]]:
        """Candidate references of each query, registered and compared."""
        whole = self.search.find(views, self.embedded, self.weights, owners)
        parts = self.parts.find(views, owners)
        candidates = whole.extend(parts.candidates)
        n, k = candidates.references.shape
        references = candidates.references.flatten()
        moving = Layers.of(views)[torch.arange(n).repeat_interleave(k)]
        start = candidates.warps.flatten(0, 1)
        ends = (register(moving, self.layers[references], start), start)
        seen = [self._compare(moving.seen_through(warps), references) for warps in ends]
        quarters = parts.scores.gather(1, candidates.references).reshape(-1, 1)
        return candidates.references, torch.cat([*seen, quarters], 1).reshape(n, k, -1)

    def _compare(
        self, seen: Layers, references: Int[Tensor, " pairs"]
    ) -> Float[Tensor, "pairs measures"]:
        return compare(
            seen,
            self.layers[references],
            self.whitening.features(seen),
            _rows(self.features, references),
            tuple(leverage[..., references] for leverage in self.leverages),
        )


def _rows(features: tuple[Tensor, ...], rows: Int[Tensor, " kept"]) -> tuple[Tensor, ...]:
    return tuple(feature.index_select(-2, rows) for feature in features)


@dataclass(frozen=True, eq=False)
class Gallery:
    """Real scans, their owners' numbers, and the fingerprints of all their mirror images."""

    views: tuple[ViewIndex, ...]
    owners: Int[np.ndarray, " refs"]
    fingerprints: frozenset[bytes]

    @classmethod
    def fit(
        cls, volumes: Float[np.ndarray, "n i j k"], owners: Int[np.ndarray, " n"], seed: int = 0
    ) -> "Gallery":
        """A gallery of these scans, fitted on all of them alike."""
        views = to_views(volumes)
        indices = tuple(ViewIndex.fit(views[:, view], seed) for view in range(views.shape[1]))
        return cls(indices, owners, _all_fingerprints(volumes))

    def extend(
        self, volumes: Float[np.ndarray, "n i j k"], owners: Int[np.ndarray, " n"]
    ) -> "Gallery":
        """More references, nothing fitted anew."""
        views = to_views(volumes)
        return Gallery(
            tuple(index.extend(views[:, v]) for v, index in enumerate(self.views)),
            np.concatenate([self.owners, owners]),
            self.fingerprints | _all_fingerprints(volumes),
        )

    def restricted(self, owners: Int[np.ndarray, " subjects"]) -> "Gallery":
        """The references of some subjects, for comparison only: no fingerprints."""
        rows = np.flatnonzero(np.isin(self.owners, owners))
        kept = tuple(index.keep(torch.from_numpy(rows)) for index in self.views)
        return Gallery(kept, self.owners[rows], frozenset())

    def emptied(self) -> "Gallery":
        """The same gallery without any scan."""
        return self.restricted(np.zeros(0, np.int64))

    def match(self, volumes: Float[np.ndarray, "n i j k"], tick: Callable[[int], None]) -> Matches:
        """Every query against the gallery."""
        found = self.match_views(to_views(volumes), tick)
        exact = np.array([_fingerprint(volume) in self.fingerprints for volume in volumes], bool)
        return replace(found, is_exact=exact)

    def match_views(
        self, views: Float[Tensor, "n views side side"], tick: Callable[[int], None]
    ) -> Matches:
        """Every query's views against the gallery, in batches; no fingerprints."""
        found = []
        for batch in torch.split(views, _BATCH):
            found.append(self._match_batch(batch))
            tick(len(batch))
        return Matches(
            np.concatenate([subjects for subjects, _ in found]),
            np.concatenate([measures for _, measures in found]),
            np.zeros(len(views), bool),
        )

    def _match_batch(
        self, views: Float[Tensor, "n views side side"]
    ) -> tuple[
        Int[np.ndarray, "n views candidates"], Float[np.ndarray, "n views candidates measures"]
    ]:
        if not len(self.owners):
            empty = (len(views), len(self.views), 0)
            return np.zeros(empty, np.int64), np.zeros((*empty, len(MEASURES)), np.float32)
        pairs = [index.match(views[:, v], self.owners) for v, index in enumerate(self.views)]
        references = torch.stack([references for references, _ in pairs], 1).numpy()
        return self.owners[references], torch.stack([found for _, found in pairs], 1).numpy()


def _fingerprint(volume: Float[np.ndarray, "i j k"]) -> bytes:
    """SHA-256 of the voxels as 8-bit gray, and of their shape."""
    gray = np.ascontiguousarray(np.rint(np.clip(volume, 0, 1) * 255).astype(np.uint8))
    return hashlib.sha256(repr(gray.shape).encode() + gray.tobytes()).digest()


def _all_fingerprints(volumes: Float[np.ndarray, "n i j k"]) -> frozenset[bytes]:
    """Fingerprints of all mirror images and in-plane quarter turns."""
    return frozenset(
        _fingerprint(np.flip(np.rot90(volume, turns), mirrored))
        for volume in volumes
        for turns in range(4)
        for mirrored in ((), (0,), (2,), (0, 2))
    )
