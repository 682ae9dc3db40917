"""A comparison on a few phantoms: every model in a second or two, one table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.comparison_table import comparison_table, markdown_table, mean_over_seeds
from medsynth.core.errors import UsageProblem
from medsynth.evaluate.metrics import Metric

pytestmark = pytest.mark.filterwarnings("ignore")
MODELS = ("diffusion", "gan", "autoregressive", "gaussian")
TOML = """
[rivals.gan]
widths = [16, 16]
discriminator_widths = [16, 16]
[rivals.autoregressive]
width = 16
depth = 1
heads = 2
"""


def _metrics(value: float) -> dict[str, Metric]:
    names = ("mmd_reader", "recall", "agreement_age", "agreement_sex", "members_excess")
    names += (
        "mmd_frozen",
        "two_sample_auc",
        "precision",
        "density",
        "coverage",
        "similarity_ratio",
        "members_p",
    )
    names += ("rejected", "num_parameters", "seconds", "steps", "scans_seen")
    names += ("seconds_per_scan", "passes")
    return {name: Metric(value, 0.5, value - 1, value + 1, 9) for name in names}


def test_the_table_has_a_column_per_model_and_fits_a_terminal() -> None:
    models = {name: _metrics(12345.0) for name in MODELS}
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as shown:
        console.print(comparison_table(models))
    lines = shown.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert "transformer" in lines[1]
    assert "…" not in shown.get()
    assert sum("agreement" in line for line in lines) == 2


def test_what_is_unknown_is_a_dash_and_units_are_those_of_the_words() -> None:
    models = {name: _metrics(120.0) | {"recall": Metric(n=3)} for name in MODELS}
    rows = {line.split(" | ")[0][2:]: line for line in markdown_table(models).splitlines()}
    assert rows["recall"] == "| recall | - | - | - | - | - |"
    assert rows["training, min"].split(" | ")[1] == "2.000 (1.983 to 2.017)"


def test_seeds_are_averaged_between_the_lowest_and_the_highest() -> None:
    runs = [{"gan": {"recall": Metric(value, 0.8, 0.0, 1.0, 7)}} for value in (0.2, 0.6)]
    assert mean_over_seeds(runs)["gan"]["recall"] == Metric(0.4, 0.8, 0.2, 0.6, 7)
    assert mean_over_seeds(runs[:1]) == runs[0]
    unknown = [*runs, {"gan": {"recall": Metric(n=7)}}]
    assert mean_over_seeds(unknown)["gan"]["recall"] == Metric(n=7)


@pytest.fixture
def job(make_job: Callable[[Path], Any], tmp_path: Path) -> Any:
    given = make_job(tmp_path / "out")
    (tmp_path / "config.toml").write_text(given.config.read_text() + TOML)
    return given.model_copy(update={"config": tmp_path / "config.toml"})


def test_all_models_are_trained_drawn_from_and_measured(first_run: Any, job: Any) -> None:
    from flows.compare import compare_flow
    from flows.summary import compare_answer

    prepared = first_run.path("prepared")
    outcome = compare_flow(job, prepared, {"minutes": 0.01})
    found = outcome.comparison
    assert tuple(found) == MODELS
    for rows in found.values():
        assert {"coverage", "members_excess", "rejected", "passes", "seconds"} <= set(rows)
        assert rows["members_excess"]["n"] > 0
    folder = outcome.path("comparison")
    assert {path.name for path in (folder / "draws").iterdir()} == {f"{m}-0" for m in MODELS}
    assert not list(folder.glob("work-*"))
    assert compare_flow(job, prepared, {"minutes": 0.01}).reused == ("comparison",)
    answer = compare_answer(outcome)
    assert json.loads(answer.to_json(1.0, "compare"))["comparison"].keys() == found.keys()
    _only_numbers_and_the_table_leave(outcome, prepared)


def _only_numbers_and_the_table_leave(outcome: Any, prepared: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(outcome.tracking_uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    run = next(r for r in runs if r.data.tags.get("medsynth.stage") == "comparison")
    assert "gan.seconds" in run.data.metrics
    assert "real.agreement_sex" in run.data.metrics
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"receipt.json", "table.md"}
    assert str(prepared) not in str(run.data.params) + str(run.data.tags)


@pytest.mark.parametrize("given", [{"minutes": 0.0}, {"seeds": ["a"]}, {"seeds": ["1", "1"]}])
def test_no_time_and_no_seed_twice(server: str, first_run: Any, job: Any, given: Any) -> None:
    from flows.compare import compare_flow

    with pytest.raises(UsageProblem):
        compare_flow(job, first_run.path("prepared"), given)
