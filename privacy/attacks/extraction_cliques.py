"""Draws that are one picture: groups that lie mutually closer than different people ever do.

The distance is the largest root mean square difference of any of 4 x 4 tiles, so that a common
background makes nobody alike (Carlini et al., "Extracting Training Data from Diffusion Models",
USENIX Security 2023, arXiv 2301.13188).
"""

import math
from itertools import pairwise, product

import numpy as np
from jaxtyping import Bool, Float

_TILES = 4

Queries = Float[np.ndarray, "queries i j k"]
References = Float[np.ndarray, "references i j k"]
Distances = Float[np.ndarray, "queries references"]


def tile_distances(queries: Queries, references: References) -> Distances:
    """Every query against every reference."""
    largest = np.zeros((len(queries), len(references)))
    for tile in _tiles(queries.shape[1:]):
        np.maximum(largest, _root_mean_square(queries[tile], references[tile]), out=largest)
    return largest


def _tiles(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    cuts = []
    for side in shape:
        edges = np.linspace(0, side, min(_TILES, side) + 1).astype(int).tolist()
        cuts.append([slice(a, b) for a, b in pairwise(edges)])
    return [(slice(None), *tile) for tile in product(*cuts)]


def _root_mean_square(queries: Queries, references: References) -> Distances:
    """By the expanded square, in double precision: good to 1e-7, far below any radius."""
    size = math.prod(queries.shape[1:])
    a, b = (part.reshape(-1, size).astype(np.float64) for part in (queries, references))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    distances: Distances = np.sqrt(np.maximum(squares, 0) / size)
    return distances


def nearest(distances: Distances, *, own: bool = False) -> Float[np.ndarray, " queries"]:
    """To the nearest reference; `own` where query n is reference n, which does not count."""
    apart = distances + np.diag(np.full(len(distances), np.inf)) if own else distances
    closest: Float[np.ndarray, " queries"] = apart.min(1, initial=np.inf)
    return closest


def clique_size(is_close: Bool[np.ndarray, "draws draws"]) -> int:
    """Size of a large group all of whose pairs are close.

    From every draw a group is grown by the best connected candidate left; that may miss the
    largest group, which is hard to find, but not one that stands apart.
    """
    linked = is_close & ~np.eye(len(is_close), dtype=bool)
    return max((_grown(linked, start) for start in range(len(linked))), default=0)


def _grown(linked: Bool[np.ndarray, "draws draws"], start: int) -> int:
    candidates, size = linked[start].copy(), 1
    while candidates.any():
        ties = np.where(candidates, linked[:, candidates].sum(1), -1)
        candidates &= linked[int(ties.argmax())]
        size += 1
    return size
