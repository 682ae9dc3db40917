import math

import pytest
import torch

from medsynth.models.objective import Objective
from medsynth.models.schedule import NoiseSchedule

TABLE = NoiseSchedule("scaled_linear_beta")
EVERY = [
    *(Objective.of(target) for target in ("flow", "epsilon", "sample", "v")),
    *(Objective(target, TABLE) for target in ("epsilon", "sample", "v")),
]


@pytest.mark.parametrize("objective", EVERY)
def test_what_is_learned_gives_image_and_noise_back(objective):
    x0, noise = torch.randn(2, 5, 2, 4, 3, dtype=torch.float64).unbind()
    t = torch.tensor([0.001, 0.2, 0.5, 0.75, 0.999], dtype=torch.float64)
    x = objective.add_noise(x0, noise, t)
    clean, eps = objective.clean_and_noise(x, objective.learned(x0, noise, t), t)
    torch.testing.assert_close(clean, x0, rtol=0, atol=1e-11)
    torch.testing.assert_close(eps, noise, rtol=0, atol=1e-11)


@pytest.mark.parametrize("objective", EVERY)
def test_one_time_is_as_good_as_a_time_for_each(objective):
    x, output = torch.randn(2, 3, 2, 4, dtype=torch.float64).unbind()
    t = torch.full((3,), 0.3, dtype=torch.float64)
    each, one = (objective.clean_and_noise(x, output, time) for time in (t, t[0]))
    assert all(torch.equal(a, b) for a, b in zip(each, one, strict=True))


def test_the_path_starts_at_the_data_and_the_flow_ends_in_noise():
    x0, noise = torch.randn(2, 3, 1, 4, 4).unbind()
    for objective in EVERY:
        assert torch.equal(objective.add_noise(x0, noise, torch.zeros(3)), x0)
    assert torch.equal(Objective().add_noise(x0, noise, torch.ones(3)), noise)


def test_little_noise_is_not_rounded_away():
    """In bf16, 1 - a would be 0 here."""
    a, s = Objective("epsilon", TABLE).schedule.at(0.001)
    assert a**2 + s**2 == pytest.approx(1, abs=1e-15)
    assert s == pytest.approx(math.sqrt(1e-4), rel=1e-12)


def test_times_of_the_flow_are_logit_normal_and_shifted_towards_noise():
    torch.manual_seed(0)
    logits = torch.logit(Objective().draw_times(20000).double())
    assert abs(logits.mean()) < 0.03
    assert abs(logits.std() - 1) < 0.03
    shifted = torch.logit(Objective(shift=3.0).draw_times(20000).double())
    assert shifted.mean() == pytest.approx(math.log(3), abs=0.03)


def test_times_of_a_table_are_its_timesteps():
    times = Objective("v", NoiseSchedule("linear_beta", num_timesteps=10)).draw_times(500)
    assert sorted({round(float(t), 4) for t in times}) == [k / 10 for k in range(1, 11)]


def test_weights_are_min_snr():
    times = torch.tensor([0.1, 0.5, 0.9])
    a, s = Objective.of("v").schedule(times)
    snr = (a / s).square()
    expected = {
        "flow": torch.ones(3).double(),
        "epsilon": snr.clamp_max(5) / snr,
        "sample": snr.clamp_max(5),
        "v": snr.clamp_max(5) / (snr + 1),
    }
    for target, weight in expected.items():
        torch.testing.assert_close(Objective.of(target).weight(times).double(), weight)


def test_targets_on_a_foreign_path_are_refused():
    with pytest.raises(ValueError, match="the flow needs the straight path"):
        Objective("flow", TABLE)
    with pytest.raises(ValueError, match="got epsilon on straight"):
        Objective("epsilon")
    with pytest.raises(ValueError, match="betas must rise"):
        NoiseSchedule("linear_beta", beta_start=0.1, beta_end=0.01)
