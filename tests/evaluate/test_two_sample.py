import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medsynth.evaluate.two_sample import TwoSampleConfig, tell_apart

CONFIG = TwoSampleConfig(num_steps=60, widths=(8, 16))


def test_fresh_scans_of_one_distribution_are_not_told_apart(train_phantoms):
    images = np.split(train_phantoms.images, 6)
    found = [
        tell_apart(one, other, CONFIG, seed=seed).auc
        for seed, (one, other) in enumerate(zip(images[:3], images[3:], strict=True))
    ]
    assert 0.35 < np.mean(found) < 0.6


def test_blurred_copies_are_told_apart(train_phantoms, control_phantoms, rng):
    blurred = gaussian_filter(train_phantoms.images[:80], (0, 1, 1, 0))
    told = tell_apart(control_phantoms.images, blurred, CONFIG, seed=0)
    low, high = told.interval(rng, 100)
    assert low > 0.9
    assert low <= told.auc <= high


def test_a_row_of_both_sides_is_held_out_together_and_nothing_is_learned_from_it(control_phantoms):
    """Unchanged copies give each network both labels for every scan: chance, and exact ties."""
    images = control_phantoms.images[:30]
    told = tell_apart(images, images.copy(), CONFIG, seed=1)
    np.testing.assert_allclose(told.real, told.others, atol=1e-6)
    assert told.auc == pytest.approx(0.5)
    assert sorted(np.bincount(told.folds)) == [15, 15]


def test_volumes_are_told_apart_the_same_for_the_same_seed(rng):
    volumes = rng.random((8, 9, 12, 7), np.float32)
    config = TwoSampleConfig(num_steps=6, num_folds=2, widths=(8,))
    first, second, third = (
        tell_apart(volumes, 0.2 * volumes, config, seed=seed).others for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_sets_too_small_to_be_parted_are_refused(rng):
    images = rng.random((8, 9, 9, 1), np.float32)
    with pytest.raises(ValueError, match="at least 4, got 3 and 3"):
        tell_apart(images[:3], images[:3], CONFIG, seed=0)
