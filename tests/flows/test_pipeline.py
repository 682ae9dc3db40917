"""The whole way on sixty phantoms, on a real Prefect server."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")

STAGES = [
    *("manifest", "prepared", "latents", "checkpoint"),
    *("cohort", "views", "accepted", "evidence", "shown", "evaluation"),
]


def test_too_few_subjects_are_inconclusive_and_reported(first_run: Any) -> None:
    assert [artifact.path.name for artifact in first_run.stages] == STAGES
    assert first_run.reused == ()
    assert first_run.verdict == "INCONCLUSIVE"
    assert first_run.path("release") is None
    assert "INCONCLUSIVE" in first_run.report.read_text()


def test_the_same_run_again_finds_every_stage(
    first_run: Any, make_job: Callable[[Path], Any]
) -> None:
    from flows.pipeline import pipeline

    again = pipeline(make_job(first_run.out.parent))
    assert list(again.reused) == STAGES
    assert [a.digest for a in again.stages] == [a.digest for a in first_run.stages]


def test_prefect_shows_tables_pictures_and_the_verdict(
    first_run: Any, ask: Callable[..., list[dict[str, Any]]]
) -> None:
    artifacts = {artifact["key"]: artifact for artifact in ask("artifacts")}
    assert {f"medsynth-{stage}" for stage in STAGES} <= set(artifacts)
    verdicts = [found["data"] for found in ask("artifacts") if found["key"] == "medsynth-verdict"]
    assert any("# INCONCLUSIVE" in verdict for verdict in verdicts)
    assert artifacts["medsynth-pictures"]["data"].startswith("data:image/png;base64,")


def test_mlflow_nests_a_run_for_each_stage(first_run: Any) -> None:
    import mlflow

    mlflow.set_tracking_uri(first_run.tracking_uri)
    runs = mlflow.search_runs(experiment_names=["tiny"], output_format="list")
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    first = min(parents, key=lambda run: run.info.start_time)
    inside = {
        run.info.run_name: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == first.info.run_id
    }
    assert set(STAGES) <= set(inside)
    assert first.data.params["sample.count"] == "48"
    assert {d.dataset.name for d in inside["cohort"].inputs.dataset_inputs} == {"checkpoint"}
    steps = mlflow.MlflowClient().get_metric_history(inside["checkpoint"].info.run_id, "seconds")
    assert max(metric.step for metric in steps) == 60


def test_only_what_the_judge_let_through_is_pictured(first_run: Any) -> None:
    import mlflow

    from medsynth.core.views import STEPS, Views

    drawn, shown = (Views.read(first_run.path(name)).sets for name in ("views", "shown"))
    assert {name: len(groups) for name, groups in drawn.items()} == {"sex": 5, STEPS: 5}
    assert all(len(groups) in (0, 5) for groups in shown.values())
    client = mlflow.MlflowClient(first_run.tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    pictures = {
        run.info.run_name: {file.path for file in client.list_artifacts(run.info.run_id)}
        for run in client.search_runs([experiment.experiment_id])
        if run.info.run_name in ("latents", "checkpoint", "views", "shown")
    }
    expected = {"sex.png", "sex-difference.png", "sex-beyond.png", "sex-spread.png"}
    expected = (expected if shown["sex"] else set()) | {f"trace-{n}.png" for n in range(5)}
    if not shown[STEPS]:
        expected -= {f"trace-{n}.png" for n in range(5)}
    assert {path for path in pictures["shown"] if path.endswith(".png")} == expected
    others = pictures["latents"] | pictures["views"] | pictures["checkpoint"]
    assert not [path for path in others if path.endswith(".png")]
    assert ("What each attribute changes" in first_run.report.read_text()) == bool(shown["sex"])
    read = [run for run in client.search_runs([experiment.experiment_id])
            if run.info.run_name == "evaluation"]  # fmt: skip
    effects = json.loads((first_run.path("evaluation") / "effects.json").read_text())
    logged = {name for name in read[0].data.metrics if name.startswith("effect_")}
    assert len(logged) == sum(1 + (row["changed"] == row["read"]) for row in effects)


def test_what_training_warned_of_stands_in_the_report(first_run: Any) -> None:
    assert "subjects to learn from, 100 or more are better" in first_run.report.read_text()


def test_no_input_path_and_nobody_is_in_mlflow(first_run: Any, archive: Path, home: Path) -> None:
    words = [
        str(archive),
        "a/dicom",
        "clinical.csv",
        str(first_run.out.parent),
        str(Path(__file__).parents[2]),
    ]
    with sqlite3.connect(home / "mlflow.db") as store:
        stored = "\n".join(store.iterdump())
    files = [path for path in (home / "mlartifacts").rglob("*") if path.is_file()]
    assert files
    stored += "\n".join(path.read_text(errors="replace") for path in files)
    assert [word for word in words if word in stored] == []


def test_prefect_stores_nothing_below_the_roots(first_run: Any, archive: Path, home: Path) -> None:
    with sqlite3.connect(home / "prefect" / "prefect.db") as store:
        stored = "\n".join(store.iterdump())
    below = [path.name for path in (archive / "dicom").iterdir()]
    assert str(archive / "dicom") in stored
    assert [name for name in below if name in stored] == []
