import numpy as np
import pytest
from scipy import stats

from medsynth.release.difference import Difference, signed, unsigned


def _pairs(rng, count=10, shape=(7, 9, 1)):
    """Noise that both members share, a square that only the last has, and a little jitter."""
    first = 0.5 * rng.random((count, *shape), np.float32)
    change = np.zeros(shape, np.float32)
    change[2:4, 3:5] = 0.3
    change[5, 7] = -0.2
    return first, first + change, change


def test_the_map_of_a_known_change_is_that_change(rng):
    first, last, change = _pairs(rng)
    found = Difference.of(first, last)
    np.testing.assert_allclose(found.mean, change, atol=1e-6)
    np.testing.assert_array_equal(np.abs(found.mean) > 1e-3, change != 0)
    np.testing.assert_allclose(found.spread, first.std(0, ddof=1), atol=1e-6)
    assert found.largest == pytest.approx(0.3, abs=1e-6)


def test_no_change_is_zero_everywhere_and_beyond_nothing(rng):
    first, _, _ = _pairs(rng)
    found = Difference.of(first, first)
    assert found.largest == 0
    assert not found.is_beyond.any()
    assert np.asarray(found.pictures()["difference"])[..., 3].max() == 0


def test_the_interval_is_students(rng):
    first = np.zeros((6, 3, 5, 1), np.float32)
    last = rng.standard_normal((6, 3, 5, 1)).astype(np.float32)
    found = Difference.of(first, last)
    low, _ = stats.t.interval(0.95, 5, last.mean(0), stats.sem(last, axis=0))
    np.testing.assert_allclose(found.mean - found.half, low, atol=1e-5)


def test_by_chance_one_voxel_in_twenty_lies_beyond(rng):
    first, last = (rng.standard_normal((8, 80, 60, 1)).astype(np.float32) for _ in range(2))
    assert Difference.of(first, last).is_beyond.mean() == pytest.approx(0.05, abs=0.015)


def test_one_pair_is_refused(rng):
    first, last, _ = _pairs(rng, count=1)
    with pytest.raises(ValueError, match="at least two pairs, got 1"):
        Difference.of(first, last)


def test_more_is_red_less_is_blue_and_zero_is_clear():
    colors = signed(2.0)(np.array([[2.0, -1.0, 0.0]], np.float32))
    red, _, blue, clear = colors[0].T.astype(int)
    assert red[0] > blue[0]
    assert red[1] < blue[1]
    assert clear.tolist() == [255, 128, 0]
    assert unsigned(4.0)(np.array([[4.0, 0.0]], np.float32))[0, :, 3].tolist() == [255, 0]


def test_a_volume_has_three_planes_in_each_picture(rng):
    first, last, _ = _pairs(rng, shape=(7, 9, 5))
    flat, deep = (
        Difference.of(a, b).pictures(height=9)["difference"]
        for a, b in ((first[..., :1], last[..., :1]), (first, last))
    )
    assert deep.width > 2 * flat.width
    assert deep.mode == "RGBA"
