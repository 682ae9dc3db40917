import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from medsynth.train.movement import Movement, smooth

STILL = Movement(angle=0.0, zoom=0.0, shift=0.0, gain=0.0, bend=0.0)
SPACING = np.array([2.0, 1.0, 4.0])


def blob(center, shape, spacing, width=4.0):
    """A ball of `width` mm; `center` and the result in voxels."""
    grid = np.indices(shape).astype(float)
    parts = zip(grid, center, spacing, strict=True)
    squared = sum(((g - c) * mm) ** 2 for g, c, mm in parts)
    return np.exp(-squared / (2 * width**2)).astype(np.float32)


@pytest.mark.parametrize("shape", [(13, 9, 1), (9, 7, 5)])
def test_a_movement_of_nothing_changes_nothing(rng, shape):
    volume = rng.random(shape, np.float32)
    np.testing.assert_allclose(STILL.move(volume, SPACING, rng), volume, atol=1e-5)


@pytest.mark.parametrize("shape", [(41, 61, 1), (31, 41, 17)])
def test_a_turn_keeps_distances_in_millimetres(rng, shape):
    center = (np.array(shape) - 1) / 2
    away = np.array([4.0, 0.0, 0.0])  # voxels
    volume = blob(center + away, shape, SPACING)
    for _ in range(4):
        moved = Movement(angle=40.0, zoom=0.0, shift=0.0, gain=0.0, bend=0.0).move(
            volume, SPACING, rng
        )
        offset = (np.array(center_of_mass(moved)) - center) * SPACING
        assert np.linalg.norm(offset) == pytest.approx(8.0, rel=0.03)
        assert np.abs(offset[1:]).max() > 0.1


def test_shift_zoom_and_gain_stay_within_their_bounds(rng):
    shape = (33, 27, 1)
    center = (np.array(shape) - 1) / 2
    volume = 0.5 * blob(center, shape, np.ones(3))
    movement = Movement(angle=0.0, zoom=0.1, shift=2.0, gain=0.2, bend=0.0)
    moved = [movement.move(volume, np.ones(3), rng) for _ in range(30)]
    shifts = np.array([np.array(center_of_mass(m)) - center for m in moved])
    peaks = np.array([m.max() for m in moved])
    areas = np.array([m.sum() / m.max() for m in moved]) / (volume.sum() / volume.max())
    assert 1.0 < np.abs(shifts).max() < 2.3
    assert 0.38 < peaks.min() < 0.47
    assert 0.53 < peaks.max() < 0.61
    assert areas.min() < 0.95
    assert areas.min() > 0.75
    assert 1.05 < areas.max() < 1.3


def test_copies_are_not_blurred(rng):
    volume = rng.random((32, 32, 1), np.float32)
    moved = Movement(angle=0.0, zoom=0.0, shift=1.0, gain=0.0, bend=0.0).move(
        volume, np.ones(3), rng
    )
    inner = moved[4:-4, 4:-4]
    assert inner.std() > 0.75 * volume.std()


@pytest.mark.parametrize("shape", [(64, 40), (33, 17, 5)])
def test_a_bend_is_smooth_and_bounded(rng, shape):
    fields = np.stack([smooth(shape, rng) for _ in range(50)])
    assert 0.5 < np.abs(fields).max() <= 1.0
    assert abs(fields.mean()) < 0.1
    for axis in range(1, 1 + len(shape)):
        # Slope and curvature of a spline lie among the differences of its knots.
        steps = np.diff(fields, axis=axis)
        assert np.abs(steps).max() <= 2 / 16
        assert np.abs(np.diff(steps, axis=axis)).max() <= 4 / 16**2


def test_a_bend_moves_places_against_each_other(rng):
    shape = (48, 48, 1)
    volume = np.maximum(
        blob(np.array([12.0, 24.0, 0.0]), shape, np.ones(3), width=1.5),
        blob(np.array([36.0, 24.0, 0.0]), shape, np.ones(3), width=1.5),
    )
    bent = [
        Movement(angle=0.0, zoom=0.0, shift=0.0, gain=0.0, bend=2.0).move(volume, np.ones(3), rng)
        for _ in range(20)
    ]
    ends = [(center_of_mass(m[:24]), center_of_mass(m[24:])) for m in bent]
    apart = np.array([24 + high[0] - low[0] for low, high in ends])
    assert 0.3 < apart.std() < 2.0
    assert np.abs(apart - 24).max() < 4.0


@pytest.mark.parametrize("shape", [(24, 32, 1), (9, 17, 12)])
def test_nothing_comes_in_from_beyond_the_frame(rng, shape):
    volume = np.full(shape, 0.7, np.float32)
    movement = Movement(angle=20.0, zoom=0.2, shift=4.0, gain=0.0, bend=3.0)
    np.testing.assert_allclose(movement.move(volume, SPACING, rng), volume, atol=1e-5)
