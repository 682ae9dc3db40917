"""What every model of a comparison is asked for, and the noise that all of them draw from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.models.frame import Frame
from medsynth.models.trained import Trained, check_request, learn_attributes
from medsynth.train.fold import TrainingFold

_STREAM = 3
"""Philox stream of the rivals; requests and the diffusion model's noise have others."""

Volumes = Float[np.ndarray, "n i j k"]


@runtime_checkable
class Contestant(Protocol):
    """A trained model: requests to scans."""

    def draw(self, requests: Sequence[Attributes], indices: Sequence[int], seed: int) -> Volumes:
        """One scan in [0, 1] per request; its noise is a function of (seed, index) alone."""
        ...


@dataclass(frozen=True)
class Effort:
    """What a model cost: parameters of all it draws with, steps and scans of the network that
    draws, seconds of training (see `pace.clock`), network passes per scan drawn.
    """

    num_parameters: int
    steps: int
    scans_seen: int
    seconds: float
    passes: float


@dataclass(frozen=True, eq=False)
class Entry:
    """A contestant with its effort."""

    contestant: Contestant
    effort: Effort


@dataclass(frozen=True, eq=False)
class Ground:
    """What all contestants share: the fold, its frame, and what it tells of the attributes."""

    fold: TrainingFold
    frame: Frame
    trained: Trained = field(repr=False)

    @classmethod
    def of(cls, fold: TrainingFold, multiple: int) -> "Ground":
        """The ground of a fold, its sides padded to a multiple."""
        frame = Frame(fold.spatial_shape, multiple)
        return cls(fold, frame, learn_attributes(fold.schema, fold.attributes))

    @property
    def schema(self) -> AttributeSchema:
        """The attributes that may be asked for."""
        return self.fold.schema

    def check(self, requests: Sequence[Attributes]) -> None:
        """Raise ValueError, naming the attribute, for what training never saw."""
        for request in requests:
            check_request(self.schema, self.trained, request)


def counter(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one scan."""
    return np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, _STREAM]))


def in_batches(
    draw: Callable[[Sequence[Attributes], Shaped[np.ndarray, " n *noise"]], Volumes],
    requests: Sequence[Attributes],
    noise: Shaped[np.ndarray, " n *noise"],
    batch: int,
) -> Volumes:
    """Draws in batches of exactly one size, the last filled up: company changes no scan."""
    parts = []
    for start in range(0, len(requests), batch):
        rows = np.minimum(np.arange(start, start + batch), len(requests) - 1)
        drawn = draw([requests[row] for row in rows], noise[rows])
        parts.append(drawn[: len(requests) - start])
    return np.concatenate(parts)
