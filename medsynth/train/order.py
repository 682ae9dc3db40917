"""Which scans and which randomness a step sees: functions of (seed, step), so that a killed
training goes on as if nothing had happened.
"""

import hashlib

import numpy as np
import torch
from jaxtyping import Int


def step_seed(*parts: object) -> int:
    """A 63-bit seed for torch from a training's seed, a purpose and a step."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def batch_rows(num_scans: int, batch: int, seed: int, step: int) -> Int[torch.Tensor, " batch"]:
    """Rows of one batch: permutation after permutation of all scans, cut into batches."""
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = {int(epoch) for epoch in positions // num_scans}
    orders = {e: np.random.default_rng([seed, e]).permutation(num_scans) for e in epochs}
    rows = [orders[int(p // num_scans)][p % num_scans] for p in positions]
    return torch.from_numpy(np.array(rows))
