import numpy as np
import pytest
from scipy.stats import binomtest

from privacy.evidence import Interval, decide, judge, rate, residual_excess, rounded_up


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (1, 30), (28, 30), (30, 30), (95, 100)])
def test_bounds_are_those_of_the_exact_binomial_test(hits, n):
    found = rate(hits, n)
    low = binomtest(hits, n, alternative="greater").proportion_ci(0.95, "exact").low
    high = binomtest(hits, n, alternative="less").proportion_ci(0.95, "exact").high
    assert (found.low, found.high) == pytest.approx((low, high))


def test_28_of_30_show_the_demo_limit_and_27_do_not():
    assert rate(28, 30).low >= 0.80 > rate(27, 30).low


def test_96_of_100_show_the_pilot_limit_and_95_do_not():
    assert rate(96, 100).low >= 0.90 > rate(95, 100).low


def test_excess_bounds_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    truth = (0.10 - 0.04) / (1 - 0.04)
    draws = [
        residual_excess((rng.binomial(231, 0.10), 231), (rng.binomial(84, 0.04), 84))
        for _ in range(2000)
    ]
    assert 0.92 <= np.mean([d.low <= truth for d in draws]) <= 0.985
    assert 0.92 <= np.mean([d.high >= truth for d in draws]) <= 0.985


def test_excess_of_equal_shares_is_zero_between_its_bounds():
    found = residual_excess((10, 100), (8, 80))
    assert found.low < 0 < found.high
    assert found.estimate == pytest.approx(0)


def test_excess_where_every_control_is_disclosed_says_nothing():
    assert residual_excess((5, 10), (10, 10)) == Interval(0.0, -1.0, 1.0)


def test_counts_leave_in_steps_of_five():
    assert [rounded_up(n) for n in (0, 1, 5, 6, 11)] == [0, 5, 5, 10, 15]


@pytest.mark.parametrize(
    ("gate", "low", "high", "n", "side", "result"),
    [
        ("partition", 0.06, 0.20, 10, "below", "FAIL"),
        ("partition", 0.00, 0.04, 10, "below", "INCONCLUSIVE"),
        ("partition", 0.00, 0.04, 75, "below", "PASS"),
        ("partition", 0.00, 0.06, 75, "below", "INCONCLUSIVE"),
        ("membership", 0.00, 0.04, 75, "above", "FAIL"),
        ("screen_power", 0.00, 0.04, 75, "above", "INCONCLUSIVE"),
        ("self_test", 0.00, 0.04, 75, "above", "INCONCLUSIVE"),
        ("screen_power", 0.05, 0.90, 75, "above", "PASS"),
        ("screen_power", 0.05, 0.90, 74, "above", "INCONCLUSIVE"),
    ],
)
def test_gate_logic_follows_its_order(gate, low, high, n, side, result):
    middle = (low + high) / 2
    assert decide(gate, middle, low, high, n=n, limit=0.05, side=side, minimum=75) == result


def test_a_p_value_at_its_limit_fails_at_any_n_and_passes_only_with_enough():
    at_limit = judge("partition", "p_value", 0.01, 3, limit=0.01, side="above", minimum=75)
    few = judge("partition", "p_value", 0.5, 74, limit=0.01, side="above", minimum=75)
    enough = judge("partition", "p_value", 0.5, 75, limit=0.01, side="above", minimum=75)
    assert [row.result for row in (at_limit, few, enough)] == ["FAIL", "INCONCLUSIVE", "PASS"]
    assert enough.low is None
    assert enough.high is None


def test_a_rate_of_more_hits_than_trials_is_refused():
    with pytest.raises(ValueError, match="must lie in"):
        rate(3, 2)
