"""The screen's bits: worth nothing with a symmetric index, a great deal with a lopsided one."""

import numpy as np
import pytest

from privacy.attacks.side_channel import bits_of, members_only, side_channel
from privacy.folds import Fold, RealFolds
from privacy.screen.decide import Screen

EACH = 24


@pytest.fixture(scope="module")
def heads(phantoms):
    """Phantoms of train, control, calibration, and of nobody."""
    return np.split(phantoms(4 * EACH, seed=4), 4)


@pytest.fixture(scope="module")
def small(heads):
    numbers = np.split(np.arange(3 * EACH), 3)
    folds = RealFolds(*(Fold(v, n) for v, n in zip(heads[:3], numbers, strict=True)))
    return Screen.calibrate(folds, 0.25, None, lambda count: None)


def attack(screen, heads):
    train, control, _, strangers = heads
    return side_channel(bits_of(screen), train, control, strangers, num_queries=4 * EACH)


def test_a_symmetric_index_tells_nothing(small, heads):
    found = attack(small, heads)
    assert found.num_queries == 4 * EACH
    assert found.auc.low <= 0.5 <= found.auc.estimate < 0.65


def test_an_index_of_members_alone_gives_them_away(small, heads):
    lopsided = members_only(small, small.gallery.owners < EACH)
    assert attack(lopsided, heads).auc.low > 0.6


def test_members_rejected_less_often_are_given_away_as_much():
    blank, grey = np.zeros((20, 4, 4, 1), np.float32), np.ones((20, 4, 4, 1), np.float32)
    found = side_channel(lambda v: v.mean((1, 2, 3)) > 0.5, blank, grey, blank, num_queries=80)
    assert found.auc.low == found.auc.estimate == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_bits_by_chance_rarely_pass_for_a_leak(seed):
    rng = np.random.default_rng(seed)
    blank = np.zeros((250, 4, 4, 1), np.float32)
    found = side_channel(lambda v: rng.random(len(v)) < 0.5, blank, blank, blank, seed=seed)
    assert found.num_members == found.num_controls == 250
    assert found.num_queries == 2000
    assert found.auc.low < 0.56


def test_bits_that_are_all_alike_are_worth_exactly_nothing():
    blank = np.zeros((5, 4, 4, 1), np.float32)
    found = side_channel(lambda v: np.ones(len(v), bool), blank, blank, blank)
    assert (found.auc.low, found.auc.estimate, found.auc.high) == (0.5, 0.5, 0.5)


def test_targets_of_both_kinds_are_needed():
    blank = np.zeros((5, 4, 4, 1), np.float32)
    with pytest.raises(ValueError, match="targets of both kinds"):
        side_channel(lambda v: np.ones(len(v), bool), blank, blank[:1], blank)
