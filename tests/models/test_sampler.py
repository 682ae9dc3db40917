"""The exact denoiser of N(0.3, 0.5^2) makes every sampler an affine map of its noise."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from medsynth.models.objective import Objective
from medsynth.models.sampler import check_method, integrate
from medsynth.models.schedule import NoiseSchedule

MEAN, SD = 0.3, 0.5
METHODS = ("euler", "heun", "ab2", "ddim", "ancestral")  # shortcut has no exact denoiser
TABLE = NoiseSchedule("scaled_linear_beta", beta_start=0.0015, beta_end=0.0195)
OBJECTIVES = {
    "flow": Objective(),
    "epsilon": Objective.of("epsilon"),
    "sample": Objective.of("sample"),
    "v": Objective.of("v"),
    "epsilon of a table": Objective("epsilon", TABLE),
}
ALL = [("euler", "flow"), *((m, name) for m in METHODS[1:] for name in OBJECTIVES)]


def path(objective, t):
    """(a, s), worked out here anew."""
    match objective.schedule.curve:
        case "straight":
            return 1 - t, t
        case "cosine":
            angle = t * math.acos(0.005)
            return math.cos(angle), math.sin(angle)
    betas = np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2
    left = np.prod(1 - betas[: round(1000 * t)])
    return math.sqrt(left), math.sqrt(1 - left)


def posterior_means(x, a, s):
    """Of the image and of the noise, at x."""
    surprise = (x - a * MEAN) / (a**2 * SD**2 + s**2)
    return MEAN + a * SD**2 * surprise, s * surprise


def exact(objective):
    """What a perfect network would say: the posterior means of image and noise."""

    def predict(x, t, span=0.0):
        a, s = path(objective, t)
        clean, noise = posterior_means(x, a, s)
        target = objective.target
        if target == "flow":
            return clean - noise
        return {"epsilon": noise, "sample": clean, "v": a * noise - s * clean}[target]

    return predict


def sampled(method, objective, times):
    """Mean and sd of the samples: row 0 has no noise, each other row one unit of one noise."""
    steps = len(times) - 1 if method == "ancestral" else 0
    x = torch.zeros(2 + steps, dtype=torch.float64)
    x[1] = 1

    def fresh(step):
        return torch.eye(2 + steps, dtype=torch.float64)[2 + step]

    end = integrate(
        exact(objective),
        x,
        times,
        objective=objective,
        method=method,
        fresh_noise=fresh if method == "ancestral" else None,
    )
    return end[0].item(), (end[1:] - end[0]).norm().item()


def closed_form(method, objective, times):
    """Mean and sd by the rule's own recursion, in scalars."""
    if method == "ancestral":
        return posterior_chain(objective, times)
    ends = [follow(method, objective, times, x) for x in (0.0, 1.0)]
    return ends[0], ends[1] - ends[0]


def follow(method, objective, times, x):
    """On the straight path by the velocity; on the others in angles, image and noise apart."""
    before, way_before = None, None
    for t, t_next in pairwise(times.tolist()):
        (a, s), (a_next, s_next) = path(objective, t), path(objective, t_next)
        clean, noise = posterior_means(x, a, s)
        is_flow = objective.target == "flow"
        way, way_next = (t, t_next) if is_flow else (math.asin(s), math.asin(s_next))
        ahead = x + (t - t_next) * (clean - noise) if is_flow else a_next * clean + s_next * noise
        end_clean, end_noise = posterior_means(ahead, a_next, s_next)
        used_clean, used_noise = clean, noise
        if (method == "heun" or (method == "ab2" and before is None)) and (t_next or is_flow):
            used_clean, used_noise = (clean + end_clean) / 2, (noise + end_noise) / 2
        elif method == "ab2" and before is not None:
            half = (way_next - way) / (way - way_before) / 2
            used_clean = clean + half * (clean - before[0])
            used_noise = noise + half * (noise - before[1])
        x += (a_next - a) * used_clean + (s_next - s) * used_noise
        before, way_before = (clean, noise), way
    return x


def posterior_chain(objective, times):
    """Mean and variance of DDPM's chain: Ho et al., 2020, equation 7, for any (a, s)."""
    mean, variance = 0.0, 1.0
    for t, t_next in pairwise(times.tolist()):
        (a, s), (a_next, s_next) = path(objective, t), path(objective, t_next)
        jump = a / a_next
        fresh = s_next**2 * (s**2 - jump**2 * s_next**2) / s**2
        ends = []
        for x in (0.0, 1.0):
            clean, _ = posterior_means(x, a, s)
            pull = a_next * (s**2 - jump**2 * s_next**2) / s**2
            ends.append(pull * clean + jump * s_next**2 / s**2 * x)
        gain = ends[1] - ends[0]
        mean, variance = ends[0] + gain * mean, gain**2 * variance + fresh
    return mean, math.sqrt(variance)


@pytest.mark.parametrize(("method", "name"), ALL)
def test_a_sampler_equals_the_closed_form_of_its_discretization(method, name):
    objective = OBJECTIVES[name]
    for num_steps in (1, 2, 5, 10, 50):
        times = objective.schedule.grid(num_steps)
        assert sampled(method, objective, times) == pytest.approx(
            closed_form(method, objective, times), abs=1e-9
        )


@pytest.mark.parametrize("shift", [0.4, 3.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_shifted_grid_has_its_own_closed_form(method, shift):
    times = Objective().schedule.grid(7, shift=shift)
    assert sampled(method, Objective(), times) == pytest.approx(
        closed_form(method, Objective(), times), abs=1e-9
    )


@pytest.mark.parametrize(
    ("method", "at_5", "at_10", "at_50"),
    [
        ("euler", 0.3692, 0.4308, 0.4854),
        ("ab2", 0.4671, 0.4924, 0.4997),
        ("heun", 0.5044, 0.5017, 0.5001),
    ],
)
def test_golden_standard_deviations_of_the_flow(method, at_5, at_10, at_50):
    for num_steps, sd in ((5, at_5), (10, at_10), (50, at_50)):
        got = sampled(method, Objective(), Objective().schedule.grid(num_steps))
        assert got == pytest.approx((0.3, sd), abs=6e-5)


@pytest.mark.parametrize(
    ("num_steps", "mean", "sd"),
    [(10, 0.2987, 0.3554), (25, 0.2985, 0.4329), (50, 0.2983, 0.4635), (100, 0.2983, 0.4801)],
)
def test_golden_values_of_ddim_from_pure_noise(num_steps, mean, sd):
    """MONAI's grid of timesteps, stepped right: its own step rule looks in another grid."""
    times = (np.round(np.linspace(999, 0, num_steps)) + 1) / 1000
    got = sampled("ddim", OBJECTIVES["epsilon of a table"], np.append(times, 0.0))
    assert got == pytest.approx((mean, sd), abs=6e-5)


def test_ddim_on_the_straight_path_is_euler():
    times = Objective().schedule.grid(9, shift=2.0)
    assert sampled("ddim", Objective(), times) == pytest.approx(
        sampled("euler", Objective(), times), abs=1e-12
    )


ORDERS = {"euler": 0.95, "ddim": 0.95, "heun": 1.9, "ab2": 1.9}


@pytest.mark.parametrize(
    ("method", "name"), [pair for pair in ALL if pair[0] in ORDERS and "table" not in pair[1]]
)
def test_the_error_falls_with_the_order_of_the_rule(method, name):
    """The exact flow carries quantile to quantile; what t = 1 leaves of the image is no error."""
    objective, steps = OBJECTIVES[name], np.array([20, 40, 80, 160, 320])
    a, s = path(objective, 1.0)
    limit = SD / math.sqrt(a**2 * SD**2 + s**2)
    errors = [
        abs(sampled(method, objective, objective.schedule.grid(int(n)))[1] - limit) for n in steps
    ]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] >= ORDERS[method]


@pytest.mark.parametrize("curve", ["straight", "cosine", "scaled_linear_beta"])
@pytest.mark.parametrize("shift", [1.0, 0.4, 5.0])
def test_every_grid_falls_from_exactly_one_to_exactly_zero(curve, shift):
    schedule = NoiseSchedule(curve)
    for num_steps in range(1, 200 if schedule.is_table else 1001):
        times = schedule.grid(num_steps, shift=shift)
        assert (times[0], times[-1]) == (1.0, 0.0)
        assert (np.diff(times) < 0).all()
        assert -np.diff(times).sum() == pytest.approx(1, abs=1e-12)


def still(step):
    return torch.zeros(1, dtype=torch.float64)


def passes(method, num_steps):
    seen = []

    def counted(x, t, span):
        seen.append(t)
        return exact(Objective())(x, t)

    x, times = torch.zeros(1, dtype=torch.float64), Objective().schedule.grid(num_steps)
    fresh = still if method == "ancestral" else None
    integrate(counted, x, times, objective=Objective(), method=method, fresh_noise=fresh)
    return len(seen)


def test_passes_through_the_network():
    counted = {method: passes(method, 10) for method in METHODS}
    assert counted == dict.fromkeys(counted, 10) | {"heun": 20, "ab2": 11}


def test_the_chain_in_all_its_steps_is_ddpm():
    """x' = (x - beta / s eps) / sqrt(1 - beta) + sd z: Ho et al., 2020, algorithm 2."""
    objective = Objective("epsilon", NoiseSchedule("linear_beta", num_timesteps=50))
    betas = np.linspace(1e-4, 2e-2, 50)
    left = np.append(1.0, np.cumprod(1 - betas))
    x = expected = torch.tensor([0.7], dtype=torch.float64)
    draws = torch.randn(50, 1, dtype=torch.float64)
    for step, k in enumerate(range(50, 0, -1)):
        eps = exact_of_table(expected, left[k])
        expected = (expected - betas[k - 1] / math.sqrt(1 - left[k]) * eps) / math.sqrt(
            1 - betas[k - 1]
        )
        sd = math.sqrt(betas[k - 1] * (1 - left[k - 1]) / (1 - left[k]))
        expected = expected + sd * draws[step]
    got = integrate(
        lambda x, t, span: exact_of_table(x, left[round(50 * t)]),
        x,
        objective.schedule.grid(50),
        objective=objective,
        method="ancestral",
        fresh_noise=lambda step: draws[step],
    )
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def exact_of_table(x, left):
    return posterior_means(x, math.sqrt(left), math.sqrt(1 - left))[1]


def test_a_network_that_knows_its_leap_needs_one_step():
    """The flow's own map: quantiles stay where they are."""

    def leap(x, t, span):
        (a, s), (a_next, s_next) = path(Objective(), t), path(Objective(), t - span)
        ratio = math.hypot(a_next * SD, s_next) / math.hypot(a * SD, s)
        return (a_next * MEAN + ratio * (x - a * MEAN) - x) / span

    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for num_steps in (1, 2, 4):
        times = Objective().schedule.grid(num_steps)
        start, end = integrate(leap, x, times, objective=Objective(), method="shortcut").tolist()
        assert (start, end - start) == pytest.approx((MEAN, SD), abs=1e-12)


def test_other_rules_ask_for_the_velocity_here():
    spans = []

    def counted(x, t, span):
        spans.append(span)
        return exact(Objective())(x, t)

    x, times = torch.zeros(1, dtype=torch.float64), Objective().schedule.grid(4)
    integrate(counted, x, times, objective=Objective(), method="heun")
    assert set(spans) == {0.0}
    spans.clear()
    integrate(counted, x, times, objective=Objective(), method="shortcut")
    assert spans == [0.25] * 4


@pytest.mark.parametrize("method", METHODS)
def test_every_point_of_the_way_is_watched(method):
    seen = []
    x, times = torch.ones(1, dtype=torch.float64), Objective().schedule.grid(5)
    end = integrate(
        exact(Objective()),
        x,
        times,
        objective=Objective(),
        method=method,
        fresh_noise=still if method == "ancestral" else None,
        watch=lambda number, latents: seen.append((number, latents.item())),
    )
    assert [number for number, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert (seen[0][1], seen[-1][1]) == (1.0, end.item())


def test_wrong_combinations_are_refused():
    epsilon, table = OBJECTIVES["epsilon"], NoiseSchedule("linear_beta", num_timesteps=100)
    with pytest.raises(ValueError, match="where epsilon is told, take ddim"):
        check_method("euler", epsilon)
    with pytest.raises(ValueError, match="ancestral is DDPM's own rule for any number of steps"):
        check_method("ddpm", epsilon)
    with pytest.raises(ValueError, match="do not fit into 100 timesteps"):
        table.grid(101)
    with pytest.raises(ValueError, match="need a step"):
        table.grid(0)
    with pytest.raises(ValueError, match="ancestral needs fresh noise"):
        integrate(
            exact(epsilon),
            torch.zeros(1),
            epsilon.schedule.grid(2),
            objective=epsilon,
            method="ancestral",
        )
