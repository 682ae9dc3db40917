import numpy as np
import pytest
import torch

from medsynth.models.ema import Ema, power_exponent


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
