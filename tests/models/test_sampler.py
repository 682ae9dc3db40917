"""The exact denoiser of N(0.3, 0.5^2) makes every sampler an affine map of the noise."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from medsynth.models.sampler import integrate, time_grid

MEAN, SD = 0.3, 0.5
METHODS = ("euler", "heun", "ab2")


def rate(t: float) -> float:
    """u = MEAN + rate(t) (x - (1 - t) MEAN)."""
    return ((1 - t) * SD**2 - t) / ((1 - t) ** 2 * SD**2 + t**2)


def exact_velocity(x: torch.Tensor, t: float) -> torch.Tensor:
    return MEAN + rate(t) * (x - (1 - t) * MEAN)


def sampled(method: str, num_steps: int, shift: float = 1.0) -> tuple[float, float]:
    """Mean and sd of the samples, read from where noise 0 and 1 end."""
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    start, end = integrate(exact_velocity, x, time_grid(num_steps, shift=shift), method).tolist()
    return start, end - start


def closed_form_sd(method: str, num_steps: int, shift: float) -> float:
    """What the discretization itself makes of the sd, as a product or a two-term recursion."""
    sd, before, dt_before = 1.0, 0.0, 0.0
    for index, (t, t_next) in enumerate(pairwise(time_grid(num_steps, shift=shift))):
        dt, slope = t - t_next, rate(t) * sd
        heun = (slope + rate(t_next) * (sd + dt * slope)) / 2
        two_step = slope + (slope - before) * dt / (2 * dt_before) if index else heun
        sd += dt * {"euler": slope, "heun": heun, "ab2": two_step}[method]
        before, dt_before = slope, dt
    return sd


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_sampler_equals_the_closed_form_of_its_discretization(method, shift):
    for num_steps in (1, 2, 5, 10, 50):
        mean, sd = sampled(method, num_steps, shift)
        assert mean == pytest.approx(MEAN, abs=1e-9)
        assert sd == pytest.approx(closed_form_sd(method, num_steps, shift), abs=1e-9)


@pytest.mark.parametrize(
    ("method", "at_5", "at_10", "at_50"),
    [
        ("euler", 0.3692, 0.4308, 0.4854),
        ("ab2", 0.4671, 0.4924, 0.4997),
        ("heun", 0.5044, 0.5017, 0.5001),
    ],
)
def test_golden_standard_deviations(method, at_5, at_10, at_50):
    got = [sampled(method, num_steps)[1] for num_steps in (5, 10, 50)]
    assert got == pytest.approx([at_5, at_10, at_50], abs=6e-5)


@pytest.mark.parametrize(("method", "slope"), [("euler", 0.95), ("heun", 1.9), ("ab2", 1.9)])
def test_the_error_falls_with_the_order_of_the_rule(method, slope):
    steps = np.array([20, 40, 80, 160, 320])
    errors = [abs(sampled(method, int(n))[1] - SD) for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] >= slope


@pytest.mark.parametrize("shift", [1.0, 0.4, 5.0])
def test_every_grid_falls_from_exactly_one_to_exactly_zero(shift):
    for num_steps in range(1, 1001):
        grid = time_grid(num_steps, shift=shift)
        assert (grid[0], grid[-1]) == (1.0, 0.0)
        assert (np.diff(grid) < 0).all()
        assert -np.diff(grid).sum() == pytest.approx(1, abs=1e-12)


def test_ab2_takes_one_pass_a_step_and_one_more():
    passes = []

    def counted(x: torch.Tensor, t: float) -> torch.Tensor:
        passes.append(t)
        return exact_velocity(x, t)

    integrate(counted, torch.zeros(1, dtype=torch.float64), time_grid(10), "ab2")
    assert len(passes) == 11


def test_no_steps_and_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="need a step"):
        time_grid(0)
    with pytest.raises(ValueError, match="method must be one of"):
        integrate.__wrapped__(exact_velocity, torch.zeros(1), time_grid(1), "rk4")
