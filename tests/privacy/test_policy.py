from pathlib import Path

import pytest

import privacy
from medsynth.core.errors import UsageProblem
from privacy.planted import EVERY_KIND, ROUND_TRIP
from privacy.policy import read_policy

SHIPPED = {
    "demo": (0.05, "data"),
    "pilot": (0.05, "data"),
    "research": (0.01, "data"),
    "research_model": (0.01, "model"),
    "strict": (0.01, "data"),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policies_load_and_plant_only_kinds_that_exist(name):
    policy = read_policy(name)
    assert policy.name == name
    assert policy.purpose
    hard = policy.screen_power_hard.kinds if policy.screen_power_hard else ()
    assert {"exact", "flip", ROUND_TRIP} <= set(policy.screen_power.must_catch)
    assert {*policy.screen_power.must_catch, *hard} <= set(EVERY_KIND)
    assert (policy.alpha, policy.scope) == SHIPPED[name]


def test_only_the_demo_takes_demo_keys():
    assert read_policy("demo").allows_demo_keys
    assert not read_policy("pilot").allows_demo_keys


def test_limits_are_those_of_the_contracts():
    demo, pilot = read_policy("demo"), read_policy("pilot")
    assert (demo.screen_power.low_at_least, demo.screen_power.num_planted) == (0.80, 30)
    assert (pilot.screen_power.low_at_least, pilot.screen_power.num_planted) == (0.90, 100)
    assert (demo.rejection_rate.high_at_most, demo.rejection_rate.min_synthetic) == (0.08, 256)
    assert (pilot.rejection_rate.high_at_most, pilot.rejection_rate.min_synthetic) == (0.06, 300)
    assert (demo.partition.excess_at_most, pilot.partition.excess_at_most) == (0.05, 0.03)
    assert demo.partition.p_above == pilot.partition.p_above == 0.01
    assert demo.partition.min_controls == pilot.partition.min_controls == 75


def test_another_limit_is_another_digest():
    policy = read_policy("demo")
    assert policy.model_copy(update={"alpha": 0.04}).digest != policy.digest


def test_a_policy_may_be_a_file_of_ones_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text((Path(privacy.__file__).parent / "policies" / "demo.toml").read_text())
    assert read_policy(str(path)).digest == read_policy("demo").digest


def test_unknown_names_and_unknown_keys_are_refused(tmp_path):
    with pytest.raises(UsageProblem, match="demo, pilot"):
        read_policy("lenient")
    (tmp_path / "bad.toml").write_text('name = "x"\nleniency = 3\n')
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_policy(str(tmp_path / "bad.toml"))
