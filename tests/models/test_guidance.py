import torch

from medsynth.models.guidance import Guidance, guided_velocity


def denoise(x, t, condition):
    denoise.batches.append(len(x))
    return x * t[:, None] + condition


def guided(guidance: Guidance, t: float) -> torch.Tensor:
    denoise.batches = []
    asked, null = torch.full((2, 3), 5.0), torch.full((2, 3), 1.0)
    return guided_velocity(denoise, asked, null, guidance)(torch.ones(2, 3), t)


def test_weight_one_is_the_conditional_pass_alone():
    assert torch.equal(guided(Guidance(1.0), 0.5), torch.full((2, 3), 5.5))
    assert denoise.batches == [2]


def test_inside_the_interval_both_branches_go_in_one_batch():
    assert torch.equal(guided(Guidance(2.0), 0.5), torch.full((2, 3), 0.5 + 1 + 2 * 4))
    assert denoise.batches == [4]


def test_outside_the_interval_guidance_is_off_and_free():
    assert torch.equal(guided(Guidance(2.0), 0.05), guided(Guidance(1.0), 0.05))
    assert denoise.batches == [2]


def test_an_empty_interval_is_off():
    assert torch.equal(guided(Guidance(3.0, 1.0, 0.0), 0.5), guided(Guidance(1.0), 0.5))
