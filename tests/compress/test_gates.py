import pytest

from medsynth.compress.cost import Cost
from medsynth.compress.gates import NEEDED, GateConfig, compare_metrics, limit_of, try_candidate
from medsynth.evaluate.metrics import Metric

GOOD = {
    "mmd_frozen": Metric(0.30, 0.10, 0.25, 0.35, 100),
    "coverage": Metric(0.80, 0.90, 0.75, 0.85, 100),
    "agreement_age": Metric(0.60, 1.0, 0.50, 0.70, 100),
    "rejected": Metric(0.05, None, 0.02, 0.09, 100),
    "members_excess": Metric(0.01, 0.0, -0.02, 0.04, 80),
    "precision": Metric(0.95, 0.90, 0.9, 1.0, 100),
}
SOURCE, SMALL = Cost(1000, 10, 11.0, 0.5), Cost(500, 10, 11.0, 0.5)
SAME = Metric(1.0, 1.0, 0.98, 1.02, 5)


def moved(metric, by):
    return Metric(metric.value + by, metric.floor, metric.low + by, metric.high + by, metric.n)


def results(**changes):
    return {c.name: c.result for c in compare_metrics(GOOD, GOOD | changes, 0.05)}


def tried(source=SOURCE, candidate=SMALL, speedup=SAME, metrics=None):
    return try_candidate((source, candidate), speedup, (GOOD, metrics or GOOD), GateConfig())


def test_limits_are_the_source_and_five_percent_of_its_distance_from_the_floor():
    assert limit_of("mmd_frozen", GOOD["mmd_frozen"], 0.05) == pytest.approx(0.31)
    assert limit_of("agreement_age", GOOD["agreement_age"], 0.05) == pytest.approx(0.58)
    assert limit_of("coverage", GOOD["coverage"], 0.05) == 0.80
    assert limit_of("members_excess", GOOD["members_excess"], 0.05) == 0.01
    assert limit_of("precision", GOOD["precision"], 0.05) == 0.90, "better than real is not owed"
    assert limit_of("mmd_frozen", Metric(), 0.05) is None


def test_a_twin_of_the_source_holds_everywhere():
    assert set(results().values()) == {"holds"}
    assert tried().is_accepted


@pytest.mark.parametrize(
    ("name", "within", "beyond"),
    [
        ("mmd_frozen", 0.05, 0.07),
        ("coverage", -0.04, -0.06),
        ("agreement_age", -0.11, -0.13),
        ("rejected", 0.02, 0.04),
        ("members_excess", 0.02, 0.04),
        ("precision", -0.09, -0.11),
    ],
)
def test_worse_is_what_no_interval_can_explain(name, within, beyond):
    assert results(**{name: moved(GOOD[name], within)})[name] == "holds"
    assert results(**{name: moved(GOOD[name], beyond)})[name] == "worse"
    better = -10 * beyond
    assert results(**{name: moved(GOOD[name], better)})[name] == "holds"
    refused = tried(metrics=GOOD | {name: moved(GOOD[name], beyond)})
    assert refused.reasons == (f"{name} is worse",)


@pytest.mark.parametrize("name", NEEDED)
def test_what_was_not_measured_is_not_accepted(name):
    assert "too few scans" in tried(metrics=GOOD | {name: Metric(n=9)}).reasons[0]
    without = {key: metric for key, metric in GOOD.items() if key != name}
    found = try_candidate((SOURCE, SMALL), SAME, (without, without), GateConfig())
    assert any(name in reason for reason in found.reasons)


def test_an_attribute_that_nobody_can_read_decides_nothing():
    unread = GOOD | {"agreement_sex": Metric(n=9)}
    found = compare_metrics(unread, unread, 0.05)
    assert {check.result for check in found} == {"holds"}


def test_there_must_be_a_gain_that_the_spread_does_not_explain():
    assert "neither 10% smaller nor 10% faster" in tried(candidate=SOURCE).reasons[0]
    faster = Metric(2.0, 1.0, 1.2, 2.5, 5)
    assert tried(candidate=SOURCE, speedup=faster).is_accepted
    doubtful = Metric(2.0, 1.0, 1.0, 2.5, 5)
    assert not tried(candidate=SOURCE, speedup=doubtful).is_accepted
