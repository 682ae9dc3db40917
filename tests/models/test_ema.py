import numpy as np
import pytest
import torch

from medsynth.models.ema import Average, Ema, Mixture, mix, power_exponent


@pytest.mark.parametrize("length", [0.05, 0.1, 0.2])
def test_the_average_has_the_width_asked_for(length):
    # A weight that equals its own step: the average's weights over steps are the impulse response.
    gamma, steps = power_exponent(length), np.arange(1, 4001)
    keep = (1 - 1 / steps) ** (gamma + 1)
    shares = (1 - keep) * np.append(np.cumprod(keep[:0:-1])[::-1], 1)
    mean = (shares * steps).sum()
    sd = np.sqrt((shares * (steps - mean) ** 2).sum())
    assert sd / 4000 == pytest.approx(length, rel=0.02)


def test_the_first_update_copies_and_later_ones_trail():
    network = torch.nn.Linear(1, 1, bias=False)
    ema = Ema(network, 0.1)
    for step, value in enumerate([1.0, 2.0, 3.0], start=1):
        torch.nn.init.constant_(network.weight, value)
        ema.update(network, step)
        if step == 1:
            assert ema.network.weight.item() == 1
    assert 2 < ema.network.weight.item() < 3


def wander(num_steps, rng):
    """Weights that drift, jump and shake, as weights do."""
    steps = np.arange(1, num_steps + 1)
    drift = np.stack([np.log(steps), np.sqrt(steps), np.where(steps > num_steps / 2, 3.0, 0.0)])
    return (drift.T + rng.normal(scale=0.5, size=(num_steps, 3))).astype(np.float32)


def run_averages(path, lengths, steps):
    """Averages that are really run along a path, as they stood at some steps."""
    network = torch.nn.Linear(3, 1, bias=False)
    averages = [Ema(network, length) for length in lengths]
    stood = []
    for step, weights in enumerate(path, start=1):
        network.weight.data = torch.from_numpy(weights)[None]
        for average in averages:
            average.update(network, step)
        if step in steps:
            stood += [average.weights() for average in averages]
    return stood


@pytest.mark.parametrize("length", [0.04, 0.07, 0.14])
def test_an_average_that_was_never_run_is_made_of_stored_ones(length, rng):
    num_steps, run = 1600, (0.05, 0.1)
    steps, path = range(100, 1601, 100), wander(1600, rng)
    stored = run_averages(path, run, steps)
    known = [Average(one, step) for step in steps for one in run]
    mixture = Mixture.of(known, Average(length, num_steps))
    (wanted,) = run_averages(path, [length], [num_steps])
    made = mix([mixture], stored)[0]["weight"]
    nearest = min((stored[-2], stored[-1]), key=lambda w: (w["weight"] - wanted["weight"]).norm())
    error = (made - wanted["weight"]).norm()
    assert mixture.error < 0.02
    assert error < 0.02
    assert error < 0.2 * (nearest["weight"] - wanted["weight"]).norm()
    assert mixture.shares.sum() == pytest.approx(1)


def test_a_stored_average_is_its_own_mixture():
    known = [Average(0.05, 100), Average(0.05, 200), Average(0.1, 200)]
    mixture = Mixture.of(known, Average(0.1, 200))
    np.testing.assert_allclose(mixture.shares, [0, 0, 1], atol=1e-6)
    assert mixture.error < 1e-6


def test_what_stored_averages_cannot_show_is_admitted():
    assert Mixture.of([Average(0.05, 100), Average(0.1, 100)], Average(0.25, 100)).error > 0.5


def test_profiles_are_the_weights_that_updates_give():
    profile = Average(0.1, 30).profile(40)
    unit = run_averages(np.eye(40, 3, dtype=np.float32)[:, [0, 1, 2]], [0.1], [30])[0]["weight"]
    np.testing.assert_allclose(unit[0], profile[:3], rtol=1e-5)
    assert profile.sum() == pytest.approx(1)
    assert (profile[30:] == 0).all()
