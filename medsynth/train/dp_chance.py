"""Chance that nobody can repeat: who takes part in a step, and the noise.

Epsilon holds only for those who know neither. A training's seed stands in its receipt, so the
key here comes from the operating system, lives in memory, and is never written: a training that
goes on after a kill draws the steps that were lost anew.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Chance:
    """Independent streams by purpose and step."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def stream(self, purpose: str, step: int) -> np.random.Generator:
        """Numbers of one purpose in one step."""
        digest = hashlib.sha256(self.key + f"{purpose}:{step}".encode()).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def draw_subjects(
    rows_by_subject: Sequence[Int[np.ndarray, " _"]],
    sampling_rate: float,
    num_draws: int,
    most_scans: int,
    rng: np.random.Generator,
) -> Int[Tensor, "subjects draws"]:
    """Rows of the subjects whose coin fell: at most so many scans of each, spread over draws.

    A subject's coin, and its scans, depend on no other subject.
    """
    takes_part = rng.random(len(rows_by_subject)) < sampling_rate
    chosen = [rows for rows, takes in zip(rows_by_subject, takes_part, strict=True) if takes]
    drawn = [np.resize(rng.permutation(rows)[:most_scans], num_draws) for rows in chosen]
    return torch.from_numpy(np.array(drawn, np.int64).reshape(len(drawn), num_draws))


def standard_normal(like: Tensor, rng: np.random.Generator) -> Tensor:
    """Normal numbers of a tensor's shape, on its device."""
    numbers = rng.standard_normal(tuple(like.shape), dtype=np.float32)
    return torch.from_numpy(np.asarray(numbers)).to(like.device)
