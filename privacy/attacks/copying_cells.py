"""C_T: is the cohort nearer to members than to controls, region by region?

After Meehan, Chaudhuri & Dasgupta, AISTATS 2020: in each k-means cell the z of a Mann-Whitney
test on distances to the nearest scan, averaged with the cells' weights. Written anew:

- Theirs compares the cohort's distances to members with those of fresh people. A generator that
  learned nothing by heart but draws too little variety fails it: whoever is near the middle is
  near everybody. Here members and controls change places instead, which is exact for any
  generator: are synthetic scans nearer to members than to controls, and (their swap test) are
  members nearer to the cohort than controls are?
- p by permuting subjects inside the finest cells; over both questions and all numbers of cells
  the smallest standardized C_T counts. Mid-ranks for ties, which exact copies have; a cell with
  nobody to compare has no weight.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

NUMS_CELLS = (1, 3, 5)
PERMUTATIONS = 1000
_BLOCK = 50  # permutations looked up together
_DEPTH = 32  # nearest subjects among whom a member and a control are looked for
_ROUNDS = 25  # of k-means

Draws = Bool[np.ndarray, "draws subjects"]


def copied_p(
    nearest: Float[np.ndarray, "synthetic subjects"],
    is_member: Bool[np.ndarray, " subjects"],
    synthetic: Float[np.ndarray, "synthetic dim"],
    subjects: Float[np.ndarray, "subjects dim"],
    rng: np.random.Generator,
) -> float:
    """Joint p-value of both questions from the distance of each synthetic scan to each subject."""
    cells = [_centers(subjects, k, rng) for k in NUMS_CELLS]
    of_subjects = [_nearest_center(subjects, centers) for centers in cells]
    of_synthetic = [_nearest_center(synthetic, centers) for centers in cells]
    draws = _permuted(is_member, of_subjects[-1], rng)
    found = [c_t_of_members(nearest.min(0), draws, cells) for cells in of_subjects]
    to_members, to_controls = _to_nearest(nearest, draws), _to_nearest(nearest, ~draws)
    for pair in zip(of_synthetic, of_subjects, strict=True):
        found.append(c_t_of_cohort(to_members, to_controls, *pair))
    return joint_p(np.stack(found))


def joint_p(statistics: Float[np.ndarray, "statistics draws"]) -> float:
    """How often the smallest of all, each in units of its spread, is as small as the first."""
    centered = statistics - statistics.mean(1, keepdims=True)
    spread = centered.std(1, keepdims=True)
    smallest = (centered / np.maximum(spread, 1e-9)).min(0)
    return float((smallest <= smallest[0] + 1e-9).mean())


def _permuted(
    is_member: Bool[np.ndarray, " subjects"],
    cells: Int[np.ndarray, " subjects"],
    rng: np.random.Generator,
) -> Draws:
    """Who is a member: in truth, then permuted inside cells."""
    draws = np.tile(is_member, (1 + PERMUTATIONS, 1))
    for cell in np.unique(cells):
        inside = cells == cell
        draws[1:, inside] = rng.permuted(draws[1:, inside], axis=1)
    return draws


def c_t_of_members(
    lengths: Float[np.ndarray, " subjects"], draws: Draws, cells: Int[np.ndarray, " subjects"]
) -> Float[np.ndarray, " draws"]:
    """C_T of members' distances to the cohort against controls'."""
    total = np.zeros(len(draws))
    for cell in np.unique(cells):
        inside = draws[:, cells == cell]
        ranks = stats.rankdata(lengths[cells == cell])
        sums, num_members = inside @ ranks, inside.sum(1)
        total += len(ranks) * _z(sums, num_members, len(ranks) - num_members, ranks.var())
    return total / len(cells)


def c_t_of_cohort(
    to_members: Float[np.ndarray, "draws synthetic"],
    to_controls: Float[np.ndarray, "draws synthetic"],
    of_synthetic: Int[np.ndarray, " synthetic"],
    of_subjects: Int[np.ndarray, " subjects"],
) -> Float[np.ndarray, " draws"]:
    """C_T of the cohort's distances to members against those to controls."""
    total = np.zeros(len(to_members))
    for cell in np.unique(of_synthetic):
        rows = of_synthetic == cell
        both = np.concatenate([to_members[:, rows], to_controls[:, rows]], 1)
        ranks, num = stats.rankdata(both, axis=1), np.full(len(total), rows.sum())
        z = _z(ranks[:, : rows.sum()].sum(1), num, num, ranks.var(1))
        total += (of_subjects == cell).mean() * z
    return total


def _to_nearest(
    nearest: Float[np.ndarray, "synthetic subjects"], draws: Draws
) -> Float[np.ndarray, "draws synthetic"]:
    """Distance to the nearest subject drawn; to the last looked at where none of them is."""
    order = np.argsort(nearest, axis=1, kind="stable")[:, :_DEPTH]
    lengths = np.take_along_axis(nearest, order, 1)
    lengths = np.concatenate([lengths, lengths[:, -1:]], 1)
    found = []
    for start in range(0, len(draws), _BLOCK):
        drawn = draws[start : start + _BLOCK][:, order]
        place = np.where(drawn.any(2), drawn.argmax(2), order.shape[1])
        found.append(np.take_along_axis(lengths.T, place, 0))
    return np.concatenate(found)


def _z(
    rank_sums: Float[np.ndarray, " draws"],
    num: Int[np.ndarray, " draws"],
    num_others: Int[np.ndarray, " draws"],
    variance: Float[np.ndarray, " draws"] | float,
) -> Float[np.ndarray, " draws"]:
    """Mann-Whitney z from mid-ranks and their variance; 0 where nothing can be compared."""
    total = num + num_others
    spread = np.sqrt(num * num_others * variance / np.maximum(total - 1, 1))
    deviation = rank_sums - num * (total + 1) / 2
    return np.where(spread > 0, deviation / np.maximum(spread, 1e-9), 0.0)


def _centers(
    points: Float[np.ndarray, "points dim"], num: int, rng: np.random.Generator
) -> Float[np.ndarray, "k dim"]:
    """Centers by Lloyd's rounds from random points; one that loses its points stays."""
    centers = points[rng.permutation(len(points))[:num]].copy()
    for _ in range(_ROUNDS):
        cells = _nearest_center(points, centers)
        for cell in np.unique(cells):
            centers[cell] = points[cells == cell].mean(0)
    return centers


def _nearest_center(
    points: Float[np.ndarray, "points dim"], centers: Float[np.ndarray, "k dim"]
) -> Int[np.ndarray, " points"]:
    """The cell of each point."""
    cells: Int[np.ndarray, " points"] = (np.square(centers).sum(1) - 2 * points @ centers.T).argmin(
        1
    )
    return cells
