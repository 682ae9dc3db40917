"""Before folds: the same person under two ids, damaged scans, and hubs, found by the screen.

One unknown pair across train and calibration turns the screen's threshold into that of a copy. So
every scan looks for its nearest other people by the screen's own comparison, and a person reads the
pairs that stand out. What leaves this module is ranks and our ids, for the private stage alone.

A pair must be mutual, and stand out against both people's own nulls: the gaps below the nearest
two. Rényi's representation (Acta Math. Hung. 1953; Weissman, JASA 1978) says that i (X_i - X_(i+1))
of the largest values X_1 > X_2 > ... are alike and independent, whatever their scale. The same
statistic two ranks deeper, where nobody is the same person, so tells how many pairs stand out by
chance, as decoys do (Elias & Gygi, Nat. Methods 2007). Hubs: Radovanovic et al., JMLR 2010.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from privacy.damage import are_damaged
from privacy.screen.frames import Images, to_views, warp
from privacy.screen.gallery import Gallery
from privacy.screen.measures import MEASURES, QUARTERS
from privacy.screen.search import Search

MOST_CHANCE = 0.25  # share of listed pairs that may have come by chance
_NUM_CANDIDATES = 11  # other people that each scan is compared with in full
_NUM_OTHERS = 6  # people that a person must have been compared with to be judged
_NUM_LOCAL = 6  # of these, those that tell how close people lie around a scan
_CROWD_SHARE, _LEAST_CROWD = 0.1, 5 * _NUM_CANDIDATES  # people whose lists a scan may stand in
_HUB_SHARE, _LEAST_HUB = 0.03, 10  # people whose nearest a scan may be
_TURNS, _SHIFTS = (
    (-8.0, 0.0, 8.0),
    ((0.0, 0.0), (0.06, 0.0), (-0.06, 0.0), (0.0, 0.06), (0.0, -0.06)),
)
_LARGEST = 1 - 1e-6  # cosine
_COSINES = [
    MEASURES.index(name)
    for name in (
        "fine whole",
        "fine patches, best 10",
        "broad whole",
        "smooth patches, best 10",
        QUARTERS,
    )
]

Volumes = Float[np.ndarray, "n i j k"]
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Alike:
    """Two scans of two subjects that may be one person; only the order of pairs is told."""

    one: int
    other: int


@dataclass(frozen=True)
class Findings:
    """Positions of scans: pairs that stand out, the most striking first; hubs; damaged scans.

    About `num_by_chance` of the pairs, at most, are two people.
    """

    pairs: tuple[Alike, ...]
    num_by_chance: int
    hubs: tuple[int, ...]
    damaged: tuple[int, ...]


def find_people(volumes: Volumes, subjects: Int[np.ndarray, " n"], tick: Tick) -> Findings:
    """Search all scans for people who have two ids; `tick` is called per scan compared.

    Hubs are left out of the search for pairs: they are near to everybody.
    """
    closeness = _embedded(to_views(volumes))
    crowded = _crowded(closeness, subjects)
    likeness = _confirmed(volumes, subjects, _leave_out(closeness, crowded), tick)
    hubs = crowded | _nearest_of_many(likeness, subjects, crowded)
    pairs, num_by_chance = _stand_out(_leave_out(likeness, hubs), subjects)
    hub_rows, damaged = np.flatnonzero(hubs), np.flatnonzero(are_damaged(volumes))
    return Findings(pairs, num_by_chance, tuple(hub_rows.tolist()), tuple(damaged.tolist()))


def _embedded(views: Float[Tensor, "n views side side"]) -> Float[np.ndarray, "n n"]:
    """Cosines in the screen's search space, best of small turns and shifts, less the local mean.

    The local mean is what makes hubs (cross-domain scaling, Conneau et al., ICLR 2018).
    """
    best = torch.stack([_best_cosines(views[:, v]) for v in range(views.shape[1])]).amax(0)
    cosines = torch.maximum(best, best.T).numpy()
    np.fill_diagonal(cosines, -1)
    local = -np.sort(-cosines, 1)[:, 3 : 3 + _NUM_LOCAL].mean(1)
    scaled: Float[np.ndarray, "n n"] = cosines - (local[:, None] + local) / 2
    return scaled


def _best_cosines(views: Images) -> Float[Tensor, "n n"]:
    search = Search.fit(views)
    references = search.embed(views)
    seen = (search.embed(warp(views, w.expand(len(views), 2, 3))) @ references.T for w in _warps())
    best = next(seen)
    for cosines in seen:
        best = torch.maximum(best, cosines)
    return best


def _warps() -> Iterator[Float[Tensor, "2 3"]]:
    for degrees in _TURNS:
        angle = torch.deg2rad(torch.tensor(degrees))
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
        for shift in _SHIFTS:
            yield torch.cat([turn, torch.tensor(shift)[:, None]], 1)


def _leave_out(
    closeness: Float[np.ndarray, "n n"], gone: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n n"]:
    """The same without some scans, neither near to anybody nor anybody near to them."""
    return np.array(np.where(gone | gone[:, None], -np.inf, closeness))


def _candidates(
    closeness: Float[np.ndarray, " n"], subjects: Int[np.ndarray, " n"], own: int
) -> Int[np.ndarray, " candidates"]:
    """The closest scan of each of the closest other people."""
    order = np.argsort(-closeness, kind="stable")
    order = order[(subjects[order] != own) & np.isfinite(closeness[order])]
    _, first = np.unique(subjects[order], return_index=True)
    return np.array(order[np.sort(first)[:_NUM_CANDIDATES]])


def _crowded(
    closeness: Float[np.ndarray, "n n"], subjects: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Scans that are candidates of very many people: they would fill everybody's list."""
    listed = np.zeros(len(subjects), np.int64)
    for row, own in zip(closeness, subjects.tolist(), strict=True):
        listed[_candidates(row, subjects, own)] += 1
    return np.array(listed > max(_LEAST_CROWD, _CROWD_SHARE * len(np.unique(subjects))))


def _confirmed(
    volumes: Volumes,
    subjects: Int[np.ndarray, " n"],
    closeness: Float[np.ndarray, "n n"],
    tick: Tick,
) -> Float[np.ndarray, "n n"]:
    """The screen's likeness of each scan and its candidates, the larger of both directions."""
    gallery = Gallery.fit(volumes, np.arange(len(volumes)))
    likeness = np.full(closeness.shape, -np.inf)
    for query, own in enumerate(subjects.tolist()):
        candidates = _candidates(closeness[query], subjects, own)
        if len(candidates):
            found = gallery.restricted(candidates).match(volumes[query : query + 1], tick)
            # Cosines; Fisher's z gives their differences one scale everywhere.
            cosines = np.clip(found.measures[0][..., _COSINES], -_LARGEST, _LARGEST)
            z = np.arctanh(cosines).mean(-1)
            np.maximum.at(likeness[query], found.subjects[0].ravel(), z.ravel())
    return np.array(np.maximum(likeness, likeness.T))


def _nearest_of_many(
    likeness: Float[np.ndarray, "n n"],
    subjects: Int[np.ndarray, " n"],
    gone: Bool[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Scans that are the nearest of many people; those that are so once these are gone, too."""
    hubs, most = gone.copy(), max(_LEAST_HUB, _HUB_SHARE * len(np.unique(subjects)))
    while True:
        left = _leave_out(likeness, hubs)
        known = np.isfinite(left).any(1)
        new = np.bincount(left[known].argmax(1), minlength=len(hubs)) > most
        if not new.any():
            return hubs
        hubs |= new


@dataclass(frozen=True, eq=False)
class _Ranked:
    """Subjects' nearest other subjects, in order; `judged` are those with enough of them."""

    nearest: Int[np.ndarray, "subjects ranks"]
    values: Float[np.ndarray, "subjects ranks"]
    judged: Bool[np.ndarray, " subjects"]

    @classmethod
    def of(cls, likeness: Float[np.ndarray, "subjects subjects"]) -> "_Ranked":
        nearest = np.argsort(-likeness, 1, kind="stable")[:, :_NUM_OTHERS]
        values = np.take_along_axis(likeness, nearest, 1)
        judged = np.isfinite(values).all(1)
        return cls(nearest, np.where(judged[:, None], values, 0.0), judged)

    def excess(self, first: int) -> Float[np.ndarray, "subjects 2"]:
        """How far the neighbors of rank `first` and the next lie above the one after these.

        Each gap is multiplied by its rank: by chance, the result is alike at every `first`.
        """
        gap = [
            rank * (self.values[:, rank - 1] - self.values[:, rank]) for rank in (first, first + 1)
        ]
        return np.stack([gap[0] + gap[1] / 2, gap[1] / 2], 1)

    def mutual(self, first: int) -> list[tuple[float, int, int]]:
        """Pairs that have each other at these two ranks, by the smaller of their excesses."""
        excess, found = self.excess(first), []
        ranks = self.nearest[:, first - 1 : first + 1]
        for one in np.flatnonzero(self.judged).tolist():
            for place, other in enumerate(ranks[one].tolist()):
                back = np.flatnonzero(ranks[other] == one)
                if one < other and self.judged[other] and len(back):
                    found.append((min(excess[one, place], excess[other, back[0]]), one, other))
        return sorted(found, reverse=True)


def _stand_out(
    likeness: Float[np.ndarray, "n n"], subjects: Int[np.ndarray, " n"]
) -> tuple[tuple[Alike, ...], int]:
    """The longest list of which at most a share came by chance, as the decoys tell."""
    names, owners = np.unique(subjects, return_inverse=True)
    by_subject = np.full((len(names), len(names)), -np.inf)
    np.maximum.at(by_subject, (owners[:, None], owners), likeness)
    np.fill_diagonal(by_subject, -np.inf)
    if len(names) < _NUM_OTHERS:
        return (), 0
    ranked = _Ranked.of(by_subject)
    found, decoys = ranked.mutual(1), np.sort([excess for excess, _, _ in ranked.mutual(3)])
    above = [len(decoys) - int(np.searchsorted(decoys, excess)) for excess, _, _ in found]
    listed = max(
        (n for n, by_chance in enumerate(above, 1) if by_chance <= MOST_CHANCE * n), default=0
    )
    pairs = tuple(_closest_scans(likeness, owners, one, other) for _, one, other in found[:listed])
    return pairs, 1 + above[listed - 1] if listed else 0


def _closest_scans(
    likeness: Float[np.ndarray, "n n"], owners: Int[np.ndarray, " n"], one: int, other: int
) -> Alike:
    rows, columns = np.flatnonzero(owners == one), np.flatnonzero(owners == other)
    best = likeness[np.ix_(rows, columns)]
    row, column = np.unravel_index(best.argmax(), best.shape)
    return Alike(int(rows[row]), int(columns[column]))
