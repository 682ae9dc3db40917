"""Kill -9 in the middle of training, then run again."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")
LONGER = "autoencoder_steps = 300\n"
LONGEST_S = 300.0
"""A loaded machine may need as long to get to training."""


@pytest.fixture
def long_config(tmp_path: Path) -> Path:
    """The small run's config, with a training long enough to be killed in."""
    tiny = Path(__file__).with_name("tiny.toml").read_text()
    short = "autoencoder_steps = 40\n"
    (tmp_path / "long.toml").write_text(tiny.replace(short, LONGER).replace("tiny", "killed"))
    return tmp_path / "long.toml"


def test_a_killed_run_is_buried_and_gone_on_with(
    server: str,
    archive: Path,
    home: Path,
    long_config: Path,
    tmp_path: Path,
    start: Any,
    wait_for: Callable[[Callable[[], bool], float], None],
) -> None:
    out = tmp_path / "out"
    arguments = ["run", long_config, "--source", archive / "dicom", "--out", out]
    run = start("flows.cli", *arguments)
    wait_for(lambda: any((out / ".partial").glob("latents-*/*/state-*.safetensors")), LONGEST_S)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    import mlflow
    from prefect import get_client

    from flows.job import Job
    from flows.pipeline import pipeline

    killed = json.loads((out / ".running").read_text())

    again = pipeline(Job(out=out, config=long_config, source=archive / "dicom", home=home))
    assert set(again.reused) == {"manifest", "prepared"}
    assert (out / ".running").read_text() == ""
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(killed["flow_run"])).state.is_crashed()
    mlflow.set_tracking_uri(again.tracking_uri)
    assert mlflow.get_run(killed["mlflow_run"]).info.status == "KILLED"
    assert _first_step() >= 10  # a forecast at the step where it goes on


def _first_step() -> int:
    """The first training step that the second run reported: the killed one saved step 10."""
    import mlflow

    latents = mlflow.search_runs(
        experiment_names=["killed"],
        filter_string="run_name = 'latents'",
        order_by=["start_time DESC"],
        output_format="list",
    )
    history = mlflow.MlflowClient().get_metric_history(latents[0].info.run_id, "seconds")
    return min(metric.step for metric in history)


def test_a_verb_asked_to_end_saves_its_state_and_leaves_no_process_behind(
    server: str,
    archive: Path,
    home: Path,
    long_config: Path,
    tmp_path: Path,
    start: Any,
    wait_for: Callable[[Callable[[], bool], float], None],
) -> None:
    out = tmp_path / "out"
    longer = long_config.read_text().replace(LONGER, "autoencoder_steps = 30000\n")
    long_config.write_text(longer.replace("save_every = 10\n", "save_every = 30000\n"))
    arguments = ["run", long_config, "--source", archive / "dicom", "--out", out]
    run = start("flows.cli", *arguments)
    logs = home.glob("process-*.log")
    log = max(logs, key=lambda path: int(path.stem.rpartition("-")[2]))
    wait_for(lambda: "latents: at most" in log.read_text(), LONGEST_S)
    children = psutil.Process(run.pid).children(recursive=True)
    run.terminate()
    assert run.wait(30) == 1
    assert psutil.wait_procs(children, timeout=2)[1] == []
    assert any((out / ".partial").glob("latents-*/*/state-*.safetensors"))
