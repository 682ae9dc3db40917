"""Weights that have the margins asked for, and whole numbers of scans that have them exactly.

References: Deming & Stephan, "On a Least Squares Adjustment of a Sampled Frequency Table When the
Expected Marginal Totals Are Known", Annals of Mathematical Statistics 11, 1940 (raking);
Hamilton's method of largest remainders.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num

_ROUNDS = 1000
_CLOSE = 1e-9


@dataclass(frozen=True, eq=False)
class Margin:
    """Which term of a margin each of n cells belongs to, and the share that each term shall have.

    Shares are positive and sum to 1.
    """

    terms: Int[np.ndarray, " n"]
    shares: Float[np.ndarray, " terms"]

    def sums(self, values: Num[np.ndarray, " n"]) -> Float[np.ndarray, " terms"]:
        """The values of each term's cells together."""
        sums: Float[np.ndarray, " terms"] = np.bincount(self.terms, values, len(self.shares))
        return sums


def allocate(shares: Float[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """Whole numbers that sum to count, each less than 1 away from its share of it."""
    # Rounded, for the last bits of a sum must not decide who gets the last scan.
    exact = np.round(shares / shares.sum() * count, 9)
    whole = np.floor(exact).astype(np.int64)
    last = np.argsort(whole - exact, kind="stable")[: count - int(whole.sum())]
    whole[last] += 1
    return np.asarray(whole)


def rake(
    weights: Float[np.ndarray, " n"], margins: Sequence[Margin]
) -> tuple[Float[np.ndarray, " n"], float]:
    """Weights of sum 1 with these margins and the odds ratios of before, and the worst gap left."""
    weights, gap = weights / weights.sum(), np.inf
    for _ in range(_ROUNDS):
        gap = max(float(np.abs(m.sums(weights) - m.shares).max()) for m in margins)
        if gap < _CLOSE:
            break
        for margin in margins:
            sums = margin.sums(weights)
            factors = np.divide(margin.shares, sums, out=np.zeros_like(sums), where=sums > 0)
            weights = weights * factors[margin.terms]
    return weights, gap


def allocate_cells(
    shares: Float[np.ndarray, " n"], margins: Sequence[Margin], count: int
) -> Int[np.ndarray, " n"]:
    """Whole numbers that sum to count and whose margins are the largest-remainder ones.

    A cell of share 0 gets none. Scans move between cells that differ in one margin alone, so
    that what was mended stays mended; where no such cell is left, a margin stays a scan off.
    """
    counts = allocate(shares, count)
    for axis, margin in enumerate(margins):
        others = [m.terms for number, m in enumerate(margins) if number != axis]
        _mend(counts, shares * count, margin, others, allocate(margin.shares, count))
    return counts


def _mend(
    counts: Int[np.ndarray, " n"],
    exact: Float[np.ndarray, " n"],
    margin: Margin,
    others: Sequence[Int[np.ndarray, " n"]],
    wanted: Int[np.ndarray, " terms"],
) -> None:
    """Move scans, in place, until one margin is as wanted, each where it costs least."""
    lines = np.unique(np.stack([np.zeros_like(counts), *others]), axis=1, return_inverse=True)[1]
    while True:
        over = (margin.sums(counts) - wanted)[margin.terms]
        excess = counts - exact
        givers = _best(lines, np.where((over > 0) & (counts > 0), excess, -np.inf))
        takers = _best(lines, np.where((over < 0) & (exact > 0), -excess, -np.inf))
        moves = [
            (excess[g] - excess[takers[line]], g, takers[line])
            for line, g in givers.items()
            if line in takers
        ]
        if not moves:
            return
        _, giver, taker = max(moves)
        counts[giver] -= 1
        counts[taker] += 1


def _best(lines: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> dict[int, int]:
    """The cell of the largest finite value in each line of cells."""
    ranked = [cell for cell in np.argsort(values, kind="stable") if np.isfinite(values[cell])]
    return {int(lines[cell]): int(cell) for cell in ranked}
