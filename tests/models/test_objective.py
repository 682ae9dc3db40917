import torch

from medsynth.models.objective import (
    add_noise,
    clean_and_noise,
    draw_times,
    shift_times,
    velocity,
)


def test_velocity_points_back_to_data_and_noise():
    x0, noise = torch.randn(2, 5, 2, 4, 3, dtype=torch.float64).unbind()
    t = torch.rand(5, dtype=torch.float64)
    clean, eps = clean_and_noise(add_noise(x0, noise, t), velocity(x0, noise), t)
    torch.testing.assert_close(clean, x0, rtol=0, atol=1e-12)
    torch.testing.assert_close(eps, noise, rtol=0, atol=1e-12)


def test_the_path_starts_at_the_data_and_ends_in_noise():
    x0, noise = torch.randn(2, 3, 1, 4, 4).unbind()
    assert torch.equal(add_noise(x0, noise, torch.zeros(3)), x0)
    assert torch.equal(add_noise(x0, noise, torch.ones(3)), noise)


def test_times_are_logit_normal_and_shifted_towards_noise():
    torch.manual_seed(0)
    logits = torch.logit(draw_times(20000).double())
    assert abs(logits.mean()) < 0.03
    assert abs(logits.std() - 1) < 0.03
    assert shift_times(torch.tensor(0.5), 3.0) == 0.75
