from collections import Counter

import numpy as np
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
    for k_min in (11, 2):
        with pytest.raises(UsageProblem, match=r"for sure.*age"):
            ask("age=50", k_min=k_min)
    assert {request["age"] for request in ask("age=50..59")} == set(map(float, range(50, 60)))


def test_an_empty_end_of_a_wide_bin_is_refused():
    """Half of all people lie in a bin that reaches ten times as far as they do, but for a few."""
    sizes = [float(n) for n in range(100)] + [100.0 + n for n in range(96)] + [5000.0] * 4
    schema = AttributeSchema((Attribute("size", "continuous"),))
    rows = [{"size": size} for size in sizes]
    cells = count_cells(schema, rows, [f"sub-{n}" for n in range(200)])
    top = max(cell.bins["size"] for cell in cells.blocks[0])
    assert top[1] > 4000
    with pytest.raises(UsageProblem, match=r"for sure.*size"):
        resolve(Plan(where="size=2000..4900"), schema, cells, 11)
    assert resolve(Plan(where="size=110..4900"), schema, cells, 11)[0]["size"] >= 110


def test_parts_of_several_bins_must_hold_enough_together():
    rng = np.random.default_rng(0)
    schema = AttributeSchema((Attribute("age", "continuous"), Attribute("size", "continuous")))
    numbers = rng.integers(0, 1000, (900, 2)).astype(float).tolist()
    rows = [{"age": age, "size": size} for age, size in numbers]
    cells = count_cells(schema, rows, [f"sub-{n}" for n in range(900)])
    kept = 0
    for low, high, bottom, top in np.sort(rng.integers(20, 980, (300, 2, 2)), -1).reshape(-1, 4):
        where = f"age={low}..{high} size={bottom}..{top}"
        try:
            resolve(Plan(where=where), schema, cells, 11)
        except UsageProblem:
            continue
        kept += 1
        inside = [low <= r["age"] <= high and bottom <= r["size"] <= top for r in rows]
        assert sum(inside) >= 11, where
    assert kept > 50


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
