"""Every plan of docs/how-to/plan.md is drawn, and does what the page says."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flows.config import read_plan
from medsynth.core.schema import Attribute, AttributeSchema
from medsynth.models.cells import count_cells
from medsynth.sample.like import read_likeness
from medsynth.sample.plan import Plan
from medsynth.sample.requests import resolve

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "plan.md"
PLANS = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.S | re.M)
SCHEMA = AttributeSchema(
    (
        Attribute("age", "continuous", "years"),
        Attribute("sex", "category"),
        Attribute("lesion", "category"),
    )
)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    rows = [
        {
            "age": float(rng.integers(30, 90)),
            "sex": "FM"[int(rng.integers(2))],
            "lesion": "yes" if rng.random() < 0.4 else "no",
        }
        for _ in range(1500)
    ]
    return count_cells(SCHEMA, rows, [f"sub-{i}" for i in range(1500)])


@pytest.fixture
def drawn(tmp_path, cells):
    """The requests of the page's plan that holds these words."""
    (tmp_path / "ward.csv").write_text("sex,lesion\n" + "F,yes\n" * 45 + "M,no\n" * 15)

    def draw(words):
        (text,) = [plan for plan in PLANS if words in plan]
        (tmp_path / "plan.toml").write_text(text)
        plan = read_plan(tmp_path / "plan.toml", Plan())
        if plan.like:
            found = read_likeness(Path(plan.like), SCHEMA, cells, 11)
            plan = plan.model_copy(update={"like": found.blocks})
        requests = resolve(plan, SCHEMA, cells, 11)
        return [requests[index] for index in range(plan.count)]

    return draw


def test_the_page_has_as_many_plans_as_are_tested():
    assert len(PLANS) == 6


def test_a_restriction(drawn):
    rows = drawn("guidance = 1.5")
    assert len(rows) == 40
    assert all(row["sex"] == "F" and 60 <= row["age"] <= 79 for row in rows)


def test_counts_by_cell(drawn):
    rows = drawn("count = 30")
    assert Counter((r["sex"], r["age"] >= 60) for r in rows) == {("F", True): 30, ("M", False): 20}


def test_shares(drawn):
    assert Counter(row["lesion"] for row in drawn("share = 0.2")) == {"yes": 10, "no": 40}


def test_marginals(drawn):
    rows = drawn("sex = { F")
    assert sum(row["sex"] == "F" for row in rows) == 110
    assert sum(row["lesion"] == "yes" for row in rows) == 40
    ages = np.array([row["age"] for row in rows])
    assert 40 <= ages.min() <= ages.max() <= 79
    assert (ages < 60).mean() == pytest.approx(0.5, abs=0.12)


def test_ranges_with_weights(drawn):
    assert sum(row["age"] < 60 for row in drawn('"40..59" = 1')) == 30


def test_a_table(drawn):
    rows = drawn("ward.csv")
    assert Counter((r["sex"], r["lesion"]) for r in rows) == {("F", "yes"): 75, ("M", "no"): 25}
