import pytest
import torch

from medsynth.models.guidance import Guidance, guided

NAMES = ("age", "sex", "view")
OUTPUT = {(): 1.0, ("age",): 2.0, ("sex", "view"): 4.0, ("age", "sex", "view"): 5.0}


def denoise(x, t, condition, span):
    denoise.batches.append(len(x))
    return x * t[:, None] + condition


def output(guidance, t, x=None):
    """What the network says is t x + a number for each set of attributes asked."""
    denoise.batches = []
    groups = guidance.groups(NAMES)
    conditions = [(torch.full((2, 3), OUTPUT[tuple(sorted(who))]), c) for who, c in groups]
    return guided(denoise, conditions, guidance)(torch.ones(2, 3) if x is None else x, t, 0.0)


def test_weight_one_is_the_conditional_pass_alone():
    assert torch.equal(output(Guidance(1.0), 0.5), torch.full((2, 3), 5.5))
    assert denoise.batches == [2]


def test_inside_the_interval_both_branches_go_in_one_batch():
    assert torch.equal(output(Guidance(2.0), 0.5), torch.full((2, 3), 0.5 + 1 + 2 * 4))
    assert denoise.batches == [4]


def test_outside_the_interval_guidance_is_off_and_free():
    assert torch.equal(output(Guidance(2.0), 0.05), output(Guidance(1.0), 0.05))
    assert denoise.batches == [2]


def test_a_weight_of_zero_asks_for_nothing_inside_the_interval():
    assert torch.equal(output(Guidance(0.0), 0.5), torch.full((2, 3), 1.5))
    assert torch.equal(output(Guidance(0.0), 0.95), torch.full((2, 3), 5.95))


def test_an_attribute_has_its_own_weight():
    """Sex and view at 2, then age at 3: 1 + 2 (4 - 1) + 3 (5 - 4)."""
    got = output(Guidance(2.0, weights={"age": 3.0}), 0.5)
    torch.testing.assert_close(got, torch.full((2, 3), 0.5 + 1 + 6 + 3))
    assert denoise.batches == [6]


def test_what_is_not_guided_costs_no_unasked_pass():
    """Sex and view at 1, age at 3: 4 + 3 (5 - 4)."""
    got = output(Guidance(1.0, weights={"age": 3.0}), 0.5)
    torch.testing.assert_close(got, torch.full((2, 3), 0.5 + 4 + 3))
    assert denoise.batches == [4]


def test_equal_weights_of_all_attributes_are_plain_guidance():
    every = dict.fromkeys(NAMES, 2.5)
    assert torch.equal(output(Guidance(7.0, weights=every), 0.5), output(Guidance(2.5), 0.5))


def test_coefficients_sum_to_one():
    for guidance in (Guidance(2.0), Guidance(0.0), Guidance(1.5, weights={"sex": 4.0, "age": 0.5})):
        assert sum(c for _, c in guidance.groups(NAMES)) == pytest.approx(1)


def test_rescaling_brings_each_scans_spread_back():
    x = torch.tensor([[0.0, 1.0, 2.0], [0.0, 10.0, 20.0]])
    asked = x * 0.5 + 5
    conditions = [(torch.ones(2, 3) - 1.5 * x, -1.0), (torch.full((2, 3), 5.0), 2.0)]
    plain, half, full = (
        guided(lambda x, t, c, span: x * t[:, None] + c, conditions, Guidance(2.0, rescale=share))(
            x, 0.5, 0.0
        )
        for share in (0.0, 0.5, 1.0)
    )
    assert not torch.allclose(plain.std(1), asked.std(1))
    torch.testing.assert_close(full.std(1), asked.std(1))
    torch.testing.assert_close(half, (plain + full) / 2)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="low <= high"):
        Guidance(2.0, low=0.8, high=0.2)
    with pytest.raises(ValueError, match="rescale must lie"):
        Guidance(2.0, rescale=1.5)
    with pytest.raises(ValueError, match="guidance names weight, which nothing has"):
        Guidance(2.0, weights={"weight": 3.0}).groups(NAMES)
    assert Guidance(3.0).groups(()) == [(frozenset(), 1.0)]
