import numpy as np
import pytest

from privacy.planted import KINDS, ROUND_TRIP, plant


@pytest.mark.parametrize("kind", KINDS)
def test_copies_keep_shape_and_range_and_are_the_same_for_a_seed(kind):
    scans = np.random.default_rng(0).random((2, 9, 12, 5), dtype=np.float32)
    once, twice = (plant(kind, scans, scans[::-1], seed=4) for _ in range(2))
    assert once.shape == scans.shape
    assert once.dtype == np.float32
    assert 0 <= once.min() <= once.max() <= 1
    assert np.array_equal(once, twice)
    assert (kind == "exact") == np.array_equal(once, scans)


def test_a_round_trip_is_the_autoencoders_own():
    scans = np.full((1, 4, 4, 1), 0.5, np.float32)
    copies = plant(ROUND_TRIP, scans, scans, seed=0, round_trip=lambda volumes: volumes * 3)
    assert (copies == 1).all()


def test_a_round_trip_without_autoencoder_and_an_unknown_kind_are_refused():
    scans = np.zeros((1, 4, 4, 1), np.float32)
    with pytest.raises(ValueError, match="needs the generator's autoencoder"):
        plant(ROUND_TRIP, scans, scans, seed=0)
    with pytest.raises(ValueError, match="must be one of"):
        plant("photocopy", scans, scans, seed=0)
