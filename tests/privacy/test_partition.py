import numpy as np
from scipy.stats import kstest

from privacy.attacks.partition import partition


def untold(count: int) -> None:
    pass


def draw_scores(rng, members=110, controls=80):
    return rng.standard_normal(members), rng.standard_normal(controls)


def test_members_scored_higher_are_told_apart(rng):
    members, controls = draw_scores(rng)
    found = partition(members + 1.5, controls, threshold=2.0, seed=0)
    assert found.p_value < 0.001
    assert found.excess.low > 0.05


def test_members_scored_lower_are_told_apart_too(rng):
    members, controls = draw_scores(rng)
    assert partition(members - 1.5, controls, threshold=2.0, seed=0).p_value < 0.001


def test_p_values_of_shuffled_members_are_not_too_small():
    rng = np.random.default_rng(3)
    found = [partition(*draw_scores(rng), threshold=1.5, seed=s).p_value for s in range(60)]
    assert kstest(found, "uniform", alternative="greater").pvalue > 0.01


def test_subjects_never_matched_count_as_safe():
    members, controls = np.full(110, -np.inf), np.full(80, -np.inf)
    found = partition(members, controls, threshold=1.0, seed=0)
    assert found.p_value == 1.0
    assert found.excess.estimate == 0.0


def test_a_seed_gives_one_p_value(rng):
    members, controls = draw_scores(rng)
    one, other = (partition(members, controls, threshold=1.0, seed=4) for _ in range(2))
    assert one == other
