import numpy as np
import pytest

from medsynth.sample.allocation import Margin, allocate, allocate_cells, rake


def margins_of(shape, *shares):
    places = np.indices(shape).reshape(len(shape), -1)
    return [Margin(p, np.asarray(s, float)) for p, s in zip(places, shares, strict=True)]


def test_whole_numbers_sum_and_stay_within_one_of_their_share(rng):
    for count in (1, 7, 100, 1001):
        shares = rng.dirichlet(np.ones(13))
        counts = allocate(shares, count)
        assert counts.sum() == count
        assert np.abs(counts - shares * count).max() < 1


def test_the_largest_remainder_gets_the_last_scan():
    assert allocate(np.array([0.5, 0.3, 0.2]), 4).tolist() == [2, 1, 1]
    assert allocate(np.array([3.0, 1.0]), 8).tolist() == [6, 2]
    assert allocate(np.array([1.0, 0.0, 1.0]), 3).tolist() == [2, 0, 1]


def test_last_bits_of_a_share_decide_nothing():
    third = np.array([1 / 3, 1 / 3, 1 / 3])
    assert allocate(third + np.array([0, 0, 1e-16]), 4).tolist() == allocate(third, 4).tolist()


def test_raking_keeps_odds_ratios_and_reaches_the_margins(rng):
    table = rng.random(6) + 0.1
    wanted = margins_of((2, 3), [0.7, 0.3], [0.2, 0.3, 0.5])
    raked, gap = rake(table, wanted)
    assert gap < 1e-9
    for margin in wanted:
        np.testing.assert_allclose(margin.sums(raked), margin.shares, atol=1e-9)
    before, after = table.reshape(2, 3), raked.reshape(2, 3)
    odds = [t[0, 0] * t[1, 2] / (t[0, 2] * t[1, 0]) for t in (before, after)]
    assert odds[0] == pytest.approx(odds[1], rel=1e-6)


def test_margins_that_cannot_hold_together_leave_a_gap():
    diagonal = np.array([1.0, 0, 0, 1.0])
    _, gap = rake(diagonal, margins_of((2, 2), [0.9, 0.1], [0.1, 0.9]))
    assert gap > 0.1


def test_counts_have_every_margin_exactly(rng):
    moved = 0
    for _ in range(40):
        shape = (3, 4, 2)
        shares = [rng.dirichlet(np.ones(n)) for n in shape]
        wanted = margins_of(shape, *shares)
        raked, _ = rake(rng.random(24) + 0.05, wanted)
        counts = allocate_cells(raked, wanted, 50)
        assert counts.sum() == 50
        assert counts.min() >= 0
        for margin in wanted:
            assert margin.sums(counts).tolist() == allocate(margin.shares, 50).tolist()
        moved += bool((counts != allocate(raked, 50)).any())
    assert moved > 20


def test_a_cell_without_weight_never_gets_a_scan(rng):
    for _ in range(20):
        table = rng.random(9) + 0.05
        table[rng.integers(9)] = 0
        wanted = margins_of((3, 3), rng.dirichlet(np.ones(3) * 9), rng.dirichlet(np.ones(3) * 9))
        raked, gap = rake(table, wanted)
        if gap < 1e-9:
            assert not allocate_cells(raked, wanted, 31)[table == 0].any()
