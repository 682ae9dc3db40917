"""The detector: how likely a candidate is the source of a query, learned from disguised scans.

References of train and control, alike, are disguised and searched for; their sources among the
candidates are copies, all other candidates are not. A few small networks learn to tell them apart
from the measures of a pair; what they agree on counts. Whatever they learn, the threshold is set
on calibration subjects, whom they never saw.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from privacy.screen.disguises import Disguised, disguise
from privacy.screen.gallery import Gallery, Matches
from privacy.screen.measures import CONTEXT, MEASURES

CHANNELS = ("whole copy", "partial copy", "whole view", "best patch")
MOST_DISGUISED = 500  # references in a round
ROUNDS = 3
_NUM_NETWORKS, _WIDTH, _EPOCHS, _BATCH = 3, 32, 40, 512
_RATE, _DECAY = 3e-3, 1e-2
_TAIL, _LEAST_TAIL = 0.99, 0.02
_PLAIN = [MEASURES.index(name) for name in ("fine whole", "fine patches, best, unregistered")]
_CONTEXT = [MEASURES.index(name) for name in CONTEXT]

Measures = Float[np.ndarray, "queries views candidates measures"]
Seen = Float[np.ndarray, "queries views candidates seen"]
"""Measures, then their context."""
IsHidden = Bool[np.ndarray, "queries views candidates"]


@dataclass(frozen=True, eq=False)
class Detector:
    """Two committees of networks per view: one for copies of whole scans, one for parts.

    `median` and `tail` (99 %) are those of each channel when references meet strangers.
    """

    committees: "tuple[tuple[Committee, Committee], ...]"
    median: Float[np.ndarray, "views channels"]
    tail: Float[np.ndarray, "views channels"]

    @classmethod
    def fit(
        cls,
        gallery: Gallery,
        views: Float[Tensor, "refs views side side"],
        tick: Callable[[int], None],
        seed: int = 0,
    ) -> "Detector":
        """Learn from a gallery's own references; `views` are theirs, in its order."""
        rows = _drawn(len(views), [seed, 0])
        found = gallery.match_views(views[rows], tick)
        own = found.subjects == gallery.owners[rows][:, None, None]
        lessons = [_undisguised(found, own)]
        lessons += [_disguised(gallery, views, tick, seed, turn) for turn in range(ROUNDS)]
        committees = tuple(
            (
                Committee.fit(*_pairs(lessons, view, of_parts=False), seed),
                Committee.fit(*_pairs(lessons, view, of_parts=True), seed),
            )
            for view in range(views.shape[1])
        )
        strange = np.where(own[..., None], -np.inf, _channels(committees, lessons[0].seen))
        tops = _by_owner(strange.max(2), gallery.owners[rows])
        median, tail = np.median(tops, 0), np.quantile(tops, _TAIL, axis=0)
        return cls(committees, median, np.maximum(tail, median + _LEAST_TAIL))

    def channels(self, found: Matches) -> Float[np.ndarray, "queries views candidates channels"]:
        """Per pair, in the order of CHANNELS: log odds of both committees, and two plain cosines.

        Each in units of its own tail: 0 at the median of strangers, 1 where few get.
        """
        seen = _in_context(found.measures, np.zeros(found.subjects.shape, bool))
        raw = _channels(self.committees, seen)
        scaled: np.ndarray = (raw - self.median[:, None]) / (self.tail - self.median)[:, None]
        return scaled


def _channels(
    committees: "tuple[tuple[Committee, Committee], ...]", seen: Seen
) -> Float[np.ndarray, "queries views candidates channels"]:
    odds = [
        np.stack([committee.weigh(seen[:, view]) for committee in pair], -1)
        for view, pair in enumerate(committees)
    ]
    return np.concatenate([np.stack(odds, 1), seen[..., _PLAIN]], -1)


def _by_owner(
    tops: Float[np.ndarray, "n views channels"], owners: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "subjects views channels"]:
    return np.stack([tops[owners == owner].max(0) for owner in np.unique(owners)])


def num_lessons(num_references: int) -> int:
    """How many queries `Detector.fit` ticks."""
    return (1 + ROUNDS) * min(MOST_DISGUISED, num_references)


@dataclass(frozen=True, eq=False)
class Committee:
    """Small networks of other seeds, whose log odds are averaged."""

    center: Float[Tensor, " seen"]
    spread: Float[Tensor, " seen"]
    networks: nn.ModuleList

    @classmethod
    def fit(
        cls,
        seen: Float[np.ndarray, "pairs seen"],
        is_copy: Bool[np.ndarray, " pairs"],
        seed: int,
    ) -> "Committee":
        """Logistic regression by networks of two hidden layers."""
        known, truth = torch.from_numpy(seen), torch.from_numpy(is_copy).float()
        center, spread = known.mean(0), known.std(0).clamp_min(1e-6)
        scaled = (known - center) / spread
        networks = [_train(scaled, truth, seed * _NUM_NETWORKS + n) for n in range(_NUM_NETWORKS)]
        return cls(center, spread, nn.ModuleList(networks).eval())

    @torch.inference_mode()
    def weigh(
        self, seen: Float[np.ndarray, "queries candidates seen"]
    ) -> Float[np.ndarray, "queries candidates"]:
        """Mean log odds."""
        scaled = (torch.from_numpy(seen) - self.center) / self.spread
        odds = torch.stack([network(scaled)[..., 0] for network in self.networks])
        mean: np.ndarray = odds.mean(0).numpy()
        return mean


def _train(
    seen: Float[Tensor, "pairs seen"], truth: Float[Tensor, " pairs"], seed: int
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(seen.shape[1], _WIDTH), nn.SiLU(),
            nn.Linear(_WIDTH, _WIDTH), nn.SiLU(),
            nn.Linear(_WIDTH, 1),
        )  # fmt: skip
        num_steps = max(1, _EPOCHS * len(seen) // _BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
        for _ in range(num_steps):
            rows = torch.randint(len(seen), (_BATCH,))
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(network(seen[rows])[:, 0], truth[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network


@dataclass(frozen=True, eq=False)
class _Lesson:
    """Measures in context; which candidates are sources; which pairs teach nothing.

    `is_part` tells the queries that hold a part of each of two scans.
    """

    seen: Seen
    is_source: IsHidden
    is_unclear: IsHidden
    is_part: Bool[np.ndarray, "queries views"]


def _pairs(
    lessons: list[_Lesson], view: int, *, of_parts: bool
) -> tuple[Float[np.ndarray, "pairs seen"], Bool[np.ndarray, " pairs"]]:
    """Sources of one kind of copy, and everybody who is no source."""
    seen, is_copy = [], []
    for lesson in lessons:
        source = lesson.is_source[:, view]
        is_other_kind = source & (lesson.is_part[:, view, None] != of_parts)
        kept = ~is_other_kind & ~lesson.is_unclear[:, view]
        seen.append(lesson.seen[:, view][kept])
        is_copy.append(source[kept])
    return np.concatenate(seen), np.concatenate(is_copy)


def _undisguised(found: Matches, own: IsHidden) -> _Lesson:
    """Real scans as they are: every candidate but themselves is somebody else."""
    nothing = np.zeros_like(own)
    return _Lesson(_in_context(found.measures, own), nothing, own, nothing[..., 0])


def _disguised(
    gallery: Gallery,
    views: Float[Tensor, "refs views side side"],
    tick: Callable[[int], None],
    seed: int,
    turn: int,
) -> _Lesson:
    rows = _drawn(len(views), [seed, 1 + turn])
    drawn = [disguise(views[rows][:, view], seed * ROUNDS + turn) for view in range(views.shape[1])]
    found = gallery.match_views(torch.stack([d.views for d in drawn], 1), tick)
    own = found.subjects == gallery.owners[rows][:, None, None]
    other = np.stack(
        [_is_other(found.subjects[:, v], gallery.owners[rows], d) for v, d in enumerate(drawn)], 1
    )
    other &= ~own
    is_part: np.ndarray = np.stack([d.shows_both.numpy() for d in drawn], 1)
    is_mixed: np.ndarray = np.stack([d.is_mixed.numpy() for d in drawn], 1)
    return _Lesson(
        _in_context(found.measures, own | other),
        own | (other & is_part[..., None]),
        other & is_mixed[..., None] & ~is_part[..., None],
        is_part,
    )


def _is_other(
    subjects: Int[np.ndarray, "queries candidates"],
    owners: Int[np.ndarray, " queries"],
    drawn: Disguised,
) -> Bool[np.ndarray, "queries candidates"]:
    is_other: np.ndarray = subjects == owners[drawn.others.numpy()][:, None]
    return is_other


def _drawn(count: int, seed: list[int]) -> Int[np.ndarray, " drawn"]:
    return np.random.default_rng(seed).permutation(count)[:MOST_DISGUISED]


def _in_context(measures: Measures, is_hidden: IsHidden) -> Seen:
    """Every pair's measures beside the query's medians over candidates, its sources left out."""
    known = np.where(is_hidden[..., None], np.nan, measures[..., _CONTEXT])
    is_all_hidden = np.asarray(is_hidden.all(2, keepdims=True))[..., None]
    known = np.where(is_all_hidden, 0.0, known)
    medians = np.nanmedian(known, 2, keepdims=True) if known.shape[2] else known
    context = np.broadcast_to(medians, known.shape)
    return np.concatenate([measures, context], -1).astype(np.float32)
