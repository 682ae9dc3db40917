from collections import Counter

import numpy as np
import pytest

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.cells import count_cells
from medsynth.sample.plan import Plan
from medsynth.sample.requests import resolve

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


@pytest.fixture
def plan_requests(rows):
    cells = count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(len(rows))])

    def ask(k_min=11, **fields):
        plan = Plan(**fields)
        requests = resolve(plan, SCHEMA, cells, k_min)
        return [requests[index] for index in range(plan.count)]

    return ask


CELLS = (
    {"where": "sex=F age=60..79", "count": 21},
    {"where": "sex=M", "count": 10},
    {"where": "sex=missing age=40..59", "count": 6},
)


def _cell_of(request):
    if request["sex"] == "M":
        return 1
    return 0 if request["sex"] == "F" and request["age"] >= 60 else 2


def test_cells_get_exactly_what_was_asked(plan_requests):
    requests = plan_requests(cells=CELLS)
    assert Counter(map(_cell_of, requests)) == {0: 21, 1: 10, 2: 6}
    assert all(r["sex"] is None and r["age"] < 60 for r in requests if _cell_of(r) == 2)


def test_counts_are_scaled_to_the_plans_own_and_shares_to_one(plan_requests):
    assert Counter(map(_cell_of, plan_requests(cells=CELLS, count=74))) == {0: 42, 1: 20, 2: 12}
    shares = [{"where": c["where"], "share": c["count"]} for c in CELLS]
    assert Counter(map(_cell_of, plan_requests(cells=shares, count=37))) == {0: 21, 1: 10, 2: 6}


def test_the_order_of_cells_follows_the_seed_and_mixes_them(plan_requests):
    first = list(map(_cell_of, plan_requests(cells=CELLS)))
    assert first == list(map(_cell_of, plan_requests(cells=CELLS)))
    assert first != list(map(_cell_of, plan_requests(cells=CELLS, seed=1)))
    assert first != sorted(first)


def test_an_index_alone_decides_its_request(rows):
    cells = count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(len(rows))])
    plan = Plan(cells=CELLS)
    whole = resolve(plan, SCHEMA, cells, 11)
    expected = [whole[index] for index in range(37)]
    for index in (36, 3, 17):
        assert resolve(plan, SCHEMA, cells, 11)[index] == expected[index]


def test_marginals_are_exact_and_keep_the_trained_association(rng):
    """Women are old and men young in training; the margins move, the odds ratio stays."""
    schema = AttributeSchema((Attribute("old", "category"), Attribute("sex", "category")))
    people = [("yes", "F")] * 80 + [("no", "F")] * 40 + [("yes", "M")] * 20 + [("no", "M")] * 60
    rows = [{"old": old, "sex": sex} for old, sex in people]
    cells = count_cells(schema, rows, [f"sub-{i}" for i in range(200)])
    wanted = {"old": {"yes": 1, "no": 3}, "sex": {"F": 0.3, "M": 0.7}}
    requests = resolve(Plan(count=1000, marginals=wanted), schema, cells, 11)
    drawn = Counter((r["old"], r["sex"]) for r in (requests[i] for i in range(1000)))
    assert drawn["yes", "F"] + drawn["yes", "M"] == 250
    assert drawn["yes", "F"] + drawn["no", "F"] == 300
    odds = drawn["yes", "F"] * drawn["no", "M"] / (drawn["no", "F"] * drawn["yes", "M"])
    assert odds == pytest.approx(80 * 60 / (40 * 20), rel=0.05)


def test_a_marginal_spreads_a_number_evenly_over_its_range():
    """Ten times as many young people as old ones were trained on."""
    ages = [float(20 + i % 20) for i in range(400)] + [float(40 + i % 40) for i in range(80)]
    schema = AttributeSchema((Attribute("age", "continuous"),))
    cells = count_cells(schema, [{"age": a} for a in ages], [f"sub-{i}" for i in range(480)])

    def drawn(**fields):
        requests = resolve(Plan(count=2000, **fields), schema, cells, 11)
        return np.array([requests[index]["age"] for index in range(2000)])

    young = (drawn(where="age=20..75") < 40).mean()
    assert young > 0.75
    evenly = drawn(marginals={"age": "20..75"})
    assert (evenly < 40).mean() == pytest.approx(20 / 56, abs=0.04)
    assert (evenly.min(), evenly.max()) == (20, 75)
    two = drawn(marginals={"age": {"20..39": 1, "40..75": 1}})
    assert (two < 40).sum() == 1000


def test_a_rare_combination_gets_nothing_and_the_margins_still_hold(rows):
    """X is one person's sex: no margin can bring it back, and F and M make up for it."""
    cells = count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(len(rows))])
    plan = Plan(count=90, marginals={"age": {"40..59": 1, "60..79": 2}, "sex": {"F": 1, "M": 1}})
    requests = [resolve(plan, SCHEMA, cells, 11)[index] for index in range(90)]
    assert Counter(r["sex"] for r in requests) == {"F": 45, "M": 45}
    assert sum(r["age"] < 60 for r in requests) == 30
    with pytest.raises(UsageProblem, match=r"fewer than 11.*sex=X"):
        resolve(Plan(marginals={"sex": {"F": 1, "X": 0.1}}), SCHEMA, cells, 11)


def test_margins_that_rare_combinations_forbid_are_refused():
    people = [("a", "x")] * 50 + [("b", "y")] * 50
    schema = AttributeSchema((Attribute("u", "category"), Attribute("v", "category")))
    rows = [{"u": u, "v": v} for u, v in people]
    cells = count_cells(schema, rows, [f"sub-{i}" for i in range(100)])
    plan = Plan(marginals={"u": {"a": 9, "b": 1}, "v": {"x": 1, "y": 9}})
    with pytest.raises(UsageProblem, match="hold together"):
        resolve(plan, schema, cells, 11)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cells": [{"where": "sex=X", "count": 5}]}, "fewer than 11.*sex=X"),
        ({"cells": [{"where": "age=50..50", "count": 5}]}, "fewer than 11.*age=50"),
        ({"where": "sex=F", "cells": [{"where": "sex=M", "count": 5}]}, "sex must stand in"),
        ({"marginals": {"height": "1..2"}}, "one of age, sex"),
        ({"marginals": {"sex": {"F": -1}}}, "positive weights"),
        ({"marginals": {"sex": {}}}, "positive weights"),
        ({"marginals": {"sex": "Q"}}, "sex must be one of"),
        ({"marginals": {"age": "missing"}}, "fewer than 11.*age=missing"),
    ],
)
def test_each_kind_of_plan_is_refused_by_name(plan_requests, fields, words):
    with pytest.raises(UsageProblem, match=words):
        plan_requests(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cells": [{"where": "sex=F"}]}, "count or a share"),
        ({"cells": [{"where": "sex=F", "count": 2, "share": 0.5}]}, "count or a share"),
        ({"cells": [{"count": 2}, {"share": 0.5}]}, "all have a count"),
        ({"cells": [{"count": 2}], "marginals": {"sex": "F"}}, "one of cells, marginals"),
        ({"like": "a.csv", "marginals": {"sex": "F"}}, "one of cells, marginals"),
        ({"like": [[]]}, "must not be empty"),
    ],
)
def test_a_plan_that_says_two_things_is_no_plan(fields, words):
    with pytest.raises(ValueError, match=words):
        Plan(**fields)


def test_too_many_combinations_are_refused(plan_requests):
    many = {"cells": [{"count": 1}] * 5001}
    with pytest.raises(UsageProblem, match="5,000 combinations"):
        plan_requests(**many)


def test_plans_share_a_series_where_an_index_means_the_same_scan():
    plain = Plan(count=30, where="sex=F")
    same = [plain.model_copy(update=u) for u in ({"count": 90}, {"threads": 4})]
    assert {plan.series for plan in same} == {plain.series}
    cells = Plan(cells=CELLS)
    others = [
        plain.model_copy(update={"where": "sex=M"}),
        plain.model_copy(update={"guidance": 2.0}),
        plain.model_copy(update={"seed": 1}),
        cells,
        cells.model_copy(update={"count": 74}),
    ]
    assert len({plan.series for plan in [plain, *others]}) == 6
