import pytest

from privacy.attacks.copying import Copying
from privacy.evidence import Interval
from privacy.gates import copying as gate
from privacy.policy import Policy
from privacy.terms import CopyingTerms


@pytest.fixture
def asking(policy: Policy) -> Policy:
    asked = CopyingTerms(
        p_above=0.01, authenticity_at_least=-0.05, ratio_at_most=0.02, duplicates_at_most=0.02,
        min_synthetic=150, min_controls=80,
    )  # fmt: skip
    return policy.model_copy(update={"copying": asked})


def results(found, policy):
    return {row.kind: row.result for row in gate.rows(found, policy)}


def test_gates_pass_what_is_clean_and_fail_what_is_not(asking):
    clean = Copying((0, 300), (0, 90), (0, 300), (0, 90), Interval(0.01, -0.02, 0.04), 0.4)
    assert set(results(clean, asking).values()) == {"PASS"}
    copied = Copying((60, 300), (0, 90), (50, 300), (0, 90), Interval(-0.3, -0.4, -0.2), 0.001)
    assert set(results(copied, asking).values()) == {"FAIL"}


def test_gates_say_how_much_is_missing(asking):
    few = Copying((0, 100), (0, 40), (0, 100), (0, 40), Interval(0.0, -0.06, 0.06), 0.4)
    said = {row.kind: row.reason for row in gate.rows(few, asking)}
    assert set(results(few, asking).values()) == {"INCONCLUSIVE"}
    assert "50 more synthetic scans" in said["ratio"]
    assert "40 more control subjects" in said["c_t"]
    assert "40 more control subjects" in said["authenticity"]


def test_a_difference_that_no_number_mends_is_called_so(asking):
    found = Copying((9, 300), (0, 90), (0, 300), (0, 90), Interval(-0.06, -0.1, 0.0), 0.4)
    said = {row.kind: row.reason for row in gate.rows(found, asking)}
    assert "will not help" in said["authenticity"]
    assert "will not help" in said["ratio"]


def test_without_an_attack_the_rows_say_so_and_without_terms_there_are_none(asking, policy):
    assert set(results(None, asking).values()) == {"NOT_RUN"}
    assert gate.rows(None, policy) == []
    assert gate.terms(policy) == {}
