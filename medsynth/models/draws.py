"""What makes a scan the same in any company: noise of its own, and batches of one size."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float


def standard_normal(
    seed: int, index: int, shape: tuple[int, ...], *, stream: int, step: int = 0
) -> Float[np.ndarray, "..."]:
    """Noise from a counter generator keyed by seed and index; one stream per purpose.

    The normal transform is ours: numpy may change its own between versions.
    """
    bits = np.random.Philox(key=[seed, index], counter=[0, 0, step, stream])
    raw = bits.random_raw(math.prod(shape))
    uniform = torch.from_numpy(((raw >> 11) + 0.5) * 2.0**-53)
    noise: np.ndarray = torch.special.ndtri(uniform).float().view(shape).numpy()
    return noise


def in_batches(
    function: Callable[[np.ndarray], np.ndarray], batch: int, rows: np.ndarray
) -> np.ndarray:
    """The function over chunks of exactly `batch` rows; the last repeats its last row."""

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(rows), batch):
            chunk = rows[start : start + batch]
            spare = batch - len(chunk)
            yield function(np.concatenate([chunk, np.repeat(chunk[-1:], spare, axis=0)]))[
                : len(chunk)
            ]

    return np.concatenate(list(chunks()))
