from collections import Counter

import pytest

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.cells import count_cells
from medsynth.sample.plan import Plan, resolve

SCHEMA = AttributeSchema((Attribute("age", "continuous", "years"), Attribute("sex", "category")))


@pytest.fixture
def ask(rows):
    cells = count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(len(rows))])

    def ask(where="", k_min=11, seed=0, count=600):
        requests = resolve(Plan(where=where, seed=seed), SCHEMA, cells, k_min)
        return [requests[index] for index in range(count)]

    return ask


def test_requests_follow_the_training_fold(ask):
    requests = ask()
    sexes = Counter(request["sex"] for request in requests)
    assert set(sexes) == {"F", "M", None}
    assert all(150 < count < 250 for count in sexes.values())
    assert {request["age"] for request in requests} <= {float(age) for age in range(40, 80)}


def test_a_request_is_a_function_of_seed_and_index(ask):
    assert ask(count=50) == ask(count=600)[:50]
    assert ask(seed=1, count=50) != ask(count=50)


def test_rare_values_are_never_asked_for(ask):
    assert all(request["sex"] != "X" for request in ask())
    with pytest.raises(UsageProblem, match=r"fewer than 11 training subjects share.*sex"):
        ask("sex=X")


def test_a_restriction_is_kept(ask):
    requests = ask("sex=F age=50..69")
    assert {request["sex"] for request in requests} == {"F"}
    assert {request["age"] for request in requests} == {float(age) for age in range(50, 70)}


def test_missing_can_be_asked_for(ask):
    assert {request["sex"] for request in ask("sex=missing")} == {None}


def test_a_range_narrower_than_enough_subjects_is_refused(ask):
    with pytest.raises(UsageProblem, match="age"):
        ask("age=50")
    assert {request["age"] for request in ask("age=50", k_min=2)} == {50.0}


@pytest.mark.parametrize(
    ("where", "name"),
    [("age=20..30", "age"), ("age=60..200", "age"), ("sex=Q", "sex"), ("age=old", "age")],
)
def test_what_was_never_trained_is_refused_by_name(ask, where, name):
    with pytest.raises(UsageProblem, match=f"^{name} must"):
        ask(where)


@pytest.mark.parametrize("where", ["height=3", "sex", "sex=F sex=M"])
def test_terms_must_name_declared_attributes_once(ask, where):
    with pytest.raises(UsageProblem, match="age, sex"):
        ask(where)


def test_a_limit_above_every_cell_is_refused(ask):
    with pytest.raises(UsageProblem, match="fewer than 1000"):
        ask(k_min=1000)


def test_a_schema_without_attributes_asks_for_nothing():
    empty = AttributeSchema()
    cells = count_cells(empty, [{}, {}], ["a", "b"])
    assert resolve(Plan(), empty, cells, 11)[3] == {}
