"""The verb `sample` on the checkpoint of a real run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.answer import Answer
from medsynth.core.manifest import Manifest

pytestmark = pytest.mark.filterwarnings("ignore")

PLAN = """
seed = 3
num_steps = 1
[[cells]]
where = "sex=F"
count = 24
[[cells]]
where = "sex=M"
count = 16
"""


@pytest.fixture
def draw(first_run: Any, tmp_path: Path) -> Callable[..., Answer]:
    """Run `medsynth sample` into an OUT, by a config of its own."""
    from flows.cli import answer

    checkpoint = str(first_run.path("checkpoint"))
    (tmp_path / "plan.toml").write_text(PLAN)

    def run(out: str, *options: str, workers: str = "", plan: str = "plan.toml") -> Answer:
        (tmp_path / "c.toml").write_text(f'policy = "demo"\nworkers = "{workers}"\n')
        given = ["--plan", str(tmp_path / plan), "--config", str(tmp_path / "c.toml")]
        return answer(["sample", checkpoint, str(tmp_path / out), *given, *options])

    return run


def digests(given: Answer) -> dict[str, str]:
    assert given.exit_code == 0, given.fields
    assert given.out
    return {scan.scan_id: scan.digest for scan in Manifest.read(given.out)}


def test_any_workers_draw_the_same_and_an_index_draws_it_alone(draw: Callable[..., Answer]) -> None:
    here, there = draw("a"), draw("b", workers="processes:2")
    assert digests(there) == digests(here)
    alone = draw("a", "--index", "7", "--index", "30..32")
    assert alone.out == here.out.parent / "excerpt"  # type: ignore[union-attr]
    assert sorted(digests(alone)) == [f"syn-{index:06d}" for index in (7, 30, 31, 32)]
    assert digests(alone).items() <= digests(here).items()


def test_the_answer_says_what_was_asked_and_drawn(draw: Callable[..., Answer]) -> None:
    given = draw("a")
    told = json.loads(given.to_json(1.0, "sample"))
    assert told["num_scans"] == 40
    assert told["seconds_per_scan"] > 0
    assert told["asked"][:2] == [
        {"where": "sex=F", "asked": 24.0, "drawn": 24},
        {"where": "sex=M", "asked": 16.0, "drawn": 16},
    ]
    assert given.lines[0].startswith("40 synthetic scans")
    assert "  sex=F: 24 of 24 asked" in given.lines
    again = json.loads(draw("a").to_json(1.0, "sample"))
    assert (again["seconds_per_scan"], again["reused"]) == (None, ["cohort"])


def test_a_table_beside_the_plan_is_read_and_its_path_stays(
    draw: Callable[..., Answer], tmp_path: Path
) -> None:
    (tmp_path / "ward.csv").write_text("sex\n" + "F\n" * 30 + "M\n" * 5)
    (tmp_path / "like.toml").write_text('count = 9\nnum_steps = 1\nlike = "ward.csv"\n')
    given = draw("a", plan="like.toml")
    assert given.fields["share_of_table"] == 0.86
    assert "86% of the table's subjects lie in cells that may be asked for" in given.lines


@pytest.mark.parametrize("index", ["40", "x", "5..2", "-1"])
def test_an_index_that_is_none_is_refused(draw: Callable[..., Answer], index: str) -> None:
    given = draw("a", f"--index={index}")
    assert given.exit_code == 2


def test_the_run_itself_has_asked_beside_achieved(first_run: Any) -> None:
    from medsynth.evaluate.achieved import read_achieved

    rows = read_achieved(first_run.path("evaluation"))
    assert sum(row.drawn for row in rows if row.of == "sex") == 48
    assert "Asked beside achieved" in first_run.report.read_text()
