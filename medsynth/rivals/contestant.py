"""What every model of a comparison is asked for, and the noise that all of them draw from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.checkpoint import best_device
from medsynth.core.schema import Attributes, AttributeSchema
from medsynth.models.conditioning import AttributeBatch, encode_attributes
from medsynth.models.draws import in_batches, standard_normal
from medsynth.models.frame import Frame
from medsynth.models.trained import Trained, check_request, learn_attributes
from medsynth.train.fold import TrainingFold

_STREAM = 4
"""Philox stream of the rivals' noise; 1 to 3 are those of our own noise and of requests."""
_BATCH = 32
"""Scans of one micro-batch when drawing."""

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


@dataclass(frozen=True, eq=False)
class Rival:
    """A trained network from so many normal numbers, and what is asked for, to images."""

    ground: Ground
    num_normals: int
    images: Callable[[Float[Tensor, "n normals"], AttributeBatch], Float[Tensor, "n 1 *space"]]

    @torch.inference_mode()
    def draw(self, requests: Sequence[Attributes], indices: Sequence[int], seed: int) -> Volumes:
        """One scan per request; raises ValueError, naming the attribute, for what none trained."""
        ground, device = self.ground, best_device()
        for request in requests:
            check_request(ground.schema, ground.trained, request)
        asked = encode_attributes(ground.schema, ground.trained, requests).to(device)

        def draw_rows(rows: np.ndarray) -> np.ndarray:
            noise = np.stack([self._noise(seed, indices[row]) for row in rows])
            images = self.images(
                torch.from_numpy(noise).to(device), asked.take(torch.from_numpy(rows))
            )
            return ground.frame.to_volumes(images)

        return in_batches(draw_rows, _BATCH, np.arange(len(requests)))

    def _noise(self, seed: int, index: int) -> Float[np.ndarray, " normals"]:
        return standard_normal(seed, index, (self.num_normals,), stream=_STREAM)
