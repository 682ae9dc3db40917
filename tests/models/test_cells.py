import json
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest

from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.cells import (
    COVERED,
    ENOUGH,
    NUM_PARTS,
    Cell,
    CellTable,
    count_cells,
    draw_value,
)
from medsynth.models.trained import check_request, learn_attributes

SCHEMA = AttributeSchema((Attribute("age", "continuous"), Attribute("sex", "category")))


def population(rng, n):
    ages = rng.integers(20, 90, n).tolist()
    return [
        {"age": None if i % 4 == 0 else float(age), "sex": "FM"[int(rng.integers(2))]}
        for i, age in enumerate(ages)
    ]


def names(n):
    return [f"sub-{i}" for i in range(n)]


def test_most_subjects_share_their_cell_with_enough_others(rng):
    for n in (160, 231, 600):
        (block,) = count_cells(SCHEMA, population(rng, n), names(n)).blocks
        shared = sum(cell.count for cell in block if cell.count >= ENOUGH)
        assert shared >= COVERED * n
        assert sum(cell.count for cell in block) == n


def test_more_subjects_allow_finer_bins(rng):
    few, many = (
        len(count_cells(SCHEMA, population(rng, n), names(n)).blocks[0]) for n in (160, 2000)
    )
    assert many > few


def test_missing_is_a_cell_of_its_own(rng):
    (block,) = count_cells(SCHEMA, population(rng, 400), names(400)).blocks
    assert sum(cell.count for cell in block if cell.bins["age"] is None) == 100


def test_a_subject_counts_once_in_a_cell():
    rows = [{"age": 30.0, "sex": "F"}] * 20 + [{"age": 60.0, "sex": "F"}] * 20
    table = count_cells(SCHEMA, rows, ["sub-0"] * 20 + names(20))
    assert sorted(cell.count for block in table.blocks for cell in block)[0] == 1


def test_attributes_that_would_empty_the_table_stand_alone(rng):
    wide = AttributeSchema(tuple(Attribute(f"c{i}", "category") for i in range(6)))
    rows = [{f"c{i}": str(rng.integers(4)) for i in range(6)} for _ in range(120)]
    table = count_cells(wide, rows, names(120))
    assert len(table.blocks) > 1
    assert [n for block in table.blocks for n in block[0].bins] == list(wide.names)


def test_the_table_survives_json(rng):
    table = count_cells(SCHEMA, population(rng, 100), names(100))
    assert CellTable.from_json(json.loads(json.dumps(asdict(table)))) == table


def test_values_stay_in_their_bin_and_whole_numbers_whole(rng):
    age = SCHEMA["age"]
    values = [draw_value(age, (20.0, 30.0), 1.0, rng) for _ in range(300)]
    assert set(values) == set(np.arange(20.0, 30.0))
    logged = Attribute("volume", "continuous", scale="log")
    values = [draw_value(logged, (0.0, 1000.0), 0.1, rng) for _ in range(300)]
    assert 0 <= min(values) <= max(values) < 1000
    assert np.median(values) < 100
    assert draw_value(age, None, 1.0, rng) is None


@pytest.mark.parametrize("unit", [1.0, 0.37])
def test_whatever_is_drawn_was_trained(rng, unit):
    """Of few subjects the quantiles lie between values."""
    schema = AttributeSchema((Attribute("age", "continuous"),))
    for count in (12, 30, 57):
        ages = unit * rng.integers(20, 60, count)
        rows = [{"age": float(age)} for age in ages]
        trained = learn_attributes(schema, rows)
        table = count_cells(schema, rows, [str(n) for n in range(count)])
        for cell in table.blocks[0]:
            for _ in range(40):
                value = draw_value(schema["age"], cell.bins["age"], table.steps["age"], rng)
                check_request(schema, trained, {"age": value})


def test_a_lone_extreme_stays_outside_of_the_table():
    rows = [{"age": 40.0 + i % 10, "sex": "F"} for i in range(200)] + [{"age": 117.0, "sex": "F"}]
    table = count_cells(SCHEMA, rows, names(201))
    edges = [edge for cell in table.blocks[0] for edge in cell.bins["age"]]
    assert max(edges) <= 51


def test_between_the_edges_of_a_crowd_lie_enough_subjects(rng):
    rows = population(rng, 600)
    (block,) = count_cells(SCHEMA, rows, names(600)).blocks
    num_crowds = 0
    for cell in block:
        inside = [r["age"] for r in rows if r["age"] is not None and r["sex"] == cell.bins["sex"]]
        for low, high in cell.crowds.get("age", ()):
            assert sum(low <= age < high for age in inside) >= ENOUGH
            num_crowds += 1
    assert num_crowds > len(block)


def test_a_subject_of_many_scans_is_no_crowd():
    rows = [{"age": float(age), "sex": "F"} for age in range(20, 60)]
    (block,) = count_cells(SCHEMA, rows * 3, ["sub-0"] * 100 + names(20)).blocks
    assert all(not cell.crowds for cell in block if cell.count < ENOUGH)


def test_a_checkpoint_without_crowds_promises_whole_bins_alone(rng):
    table = count_cells(SCHEMA, population(rng, 600), names(600))
    fields = json.loads(json.dumps(asdict(table)))
    for block in fields["blocks"]:
        for cell in block:
            del cell["crowds"]
    (block,) = CellTable.from_json(fields).blocks
    for cell in (c for c in block if isinstance(c.bins["age"], tuple)):
        low, high = cell.bins["age"]
        assert cell.at_least(cell.bins) == cell.count
        assert cell.at_least({**cell.bins, "age": (low + 1, high)}) == 0


def test_missing_from_two_parts_is_counted_twice():
    bins = {"age": (0.0, 40.0), "size": (0.0, 40.0)}
    tens = ((0.0, 10.0), (5.0, 15.0), (10.0, 20.0), (20.0, 30.0), (25.0, 35.0), (30.0, 40.0))
    cell = Cell(bins, 44, dict.fromkeys(bins, tens))
    assert cell.at_least({"age": (0.0, 30.0), "size": (0.0, 40.0)}) == 33
    assert cell.at_least({"age": (0.0, 30.0), "size": (9.0, 40.0)}) == 22
    assert cell.at_least({"age": (0.0, 20.0), "size": (20.0, 40.0)}) == 0


def test_edges_of_crowds_do_not_follow_the_people(rng):
    tables = []
    for _ in range(2):
        ages = [20.0] * 20 + rng.integers(21, 89, 160).astype(float).tolist() + [89.0] * 20
        rows = [{"age": age, "sex": "F"} for age in ages]
        tables.append(count_cells(SCHEMA, rows, names(200)).blocks[0])
    inner = []
    for block in tables:
        edges = {edge for cell in block for crowd in cell.crowds["age"] for edge in crowd}
        bins = sorted({edge for cell in block for edge in cell.bins["age"]})
        allowed = {round(x) for a, b in pairwise(bins) for x in np.linspace(a, b, NUM_PARTS + 1)}
        assert edges <= allowed
        inner.append(edges)
    assert all(inner)
