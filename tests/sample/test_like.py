from collections import Counter

import numpy as np
import pytest

from medsynth.core.errors import UsageProblem
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.cells import count_cells, holds
from medsynth.sample.like import read_likeness
from medsynth.sample.plan import Plan
from medsynth.sample.requests import resolve

SCHEMA = AttributeSchema(
    (Attribute("age", "continuous", "years", low=18.0, high=110.0), Attribute("sex", "category"))
)


def person(rng, *, old):
    """Old men and young women where it is a clinic for `old` people, the reverse elsewhere."""
    sex = "M" if rng.random() < 0.7 else "F"
    is_old = (sex == "M") == old if rng.random() < 0.5 else rng.random() < 0.5
    age = float(rng.integers(60, 80) if is_old else rng.integers(30, 60))
    return {"age": age if rng.random() < 0.8 else None, "sex": sex}


@pytest.fixture
def cells(rng):
    rows = [person(rng, old=False) for _ in range(900)]
    return count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(900)])


@pytest.fixture
def table(rng, tmp_path):
    rows = [person(rng, old=True) for _ in range(800)]
    lines = ["patient_id,age,sex,name"]
    lines += [f"p{i},{r['age'] or ''},{r['sex']},Erika" for i, r in enumerate(rows)]
    (tmp_path / "clinic.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "clinic.csv", rows


def shares(rows, cells):
    """The share of each cell; two distributions are compared by their total variation."""
    found = Counter(
        next((n for n, c in enumerate(cells.blocks[0]) if in_cell(c, row)), None) for row in rows
    )
    total = sum(found.values())
    return {key: count / total for key, count in found.items()}


def in_cell(cell, row):
    return all(holds(where, row[name]) for name, where in cell.bins.items())


def distance(one, other):
    return sum(abs(one.get(k, 0) - other.get(k, 0)) for k in {*one, *other}) / 2


def drawn_like(path, cells, count, k_min=11):
    found = read_likeness(path, SCHEMA, cells, k_min)
    requests = resolve(Plan(count=count, like=found.blocks), SCHEMA, cells, k_min)
    return [requests[index] for index in range(count)], found


def test_a_cohort_has_the_tables_joint_distribution(table, cells):
    path, rows = table
    drawn, found = drawn_like(path, cells, 600)
    wanted = shares(rows, cells)
    left_out = 1 - found.share
    assert distance(shares(drawn, cells), wanted) < left_out + 0.03
    trained = resolve(Plan(count=600), SCHEMA, cells, 11)
    assert distance(shares([trained[i] for i in range(600)], cells), wanted) > 0.3
    assert 0.9 < found.share <= 1


def test_no_row_is_copied_and_the_table_is_not_kept(table, cells):
    path, _ = table
    _, found = drawn_like(path, cells, 10)
    assert "Erika" not in repr(found)
    assert all(cell.count >= 11 for block in found.blocks for cell in block)


def test_a_cell_that_few_of_the_table_share_is_left_out(tmp_path, cells):
    lines = ["age,sex"] + ["35,M"] * 60 + ["70,F"] * 10
    (tmp_path / "few.csv").write_text("\n".join(lines))
    drawn, found = drawn_like(tmp_path / "few.csv", cells, 50)
    assert {row["sex"] for row in drawn} == {"M"}
    assert found.share == 0.86
    drawn, _ = drawn_like(tmp_path / "few.csv", cells, 70, k_min=10)
    assert Counter(row["sex"] for row in drawn) == {"M": 60, "F": 10}


def test_a_subject_counts_once_however_many_rows_it_has(tmp_path, cells):
    lines = ["subject_id,age,sex"] + ["s1,35,M"] * 60 + [f"s{n},70,F" for n in range(2, 30)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    drawn, _ = drawn_like(tmp_path / "rows.csv", cells, 20)
    assert {row["sex"] for row in drawn} == {"F"}


def test_a_column_that_the_table_lacks_follows_the_trained_mix(tmp_path, cells):
    (tmp_path / "sex.csv").write_text("sex\n" + "M\n" * 30 + "F\n" * 30)
    drawn, _ = drawn_like(tmp_path / "sex.csv", cells, 400)
    assert Counter(row["sex"] for row in drawn) == {"M": 200, "F": 200}
    assert np.mean([row["age"] is None for row in drawn]) == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,sex\nold,F\n", "age must be a number"),
        ("age,sex\n130,F\n", r"age must lie in \[18.0, 110.0\]"),
        ("height\n180\n", "a column of age, sex"),
        ("age,sex\n" + "50,F\n" * 10, "11 subjects in one cell of age, sex"),
        ("age,sex\n" + "50,divers\n" * 90, "11 subjects in one cell"),
        ("age,sex\n", "11 subjects in one cell"),
        ("age,sex\n50\n", "as many cells"),
    ],
)
def test_a_table_that_says_nothing_usable_is_refused(tmp_path, cells, text, words):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(UsageProblem, match=words) as caught:
        read_likeness(tmp_path / "bad.csv", SCHEMA, cells, 11)
    assert "130" not in str(caught.value)
    assert "divers" not in str(caught.value)
