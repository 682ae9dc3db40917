"""`medsynth serve` on a real server: a schedule of seconds fires and the runs complete."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")
TINY = Path(__file__).with_name("tiny.toml")


def test_a_schedule_fires_and_a_pipeline_completes(
    ask: Callable[..., list[dict[str, Any]]],
    archive: Path,
    tmp_path: Path,
    start: Any,
    wait_for: Callable[[Callable[[], bool], float], None],
) -> None:
    # A data set of its own: the ledger of "tiny" was written under the demo's keys.
    config = tmp_path / "served.toml"
    config.write_text(TINY.read_text().replace('name = "tiny"', 'name = "served"'))
    roots = ["--config", config, "--source", archive / "dicom", "--out", tmp_path / "out"]
    start("flows.cli", "serve", *roots, "--every", "5")

    def completed() -> set[str]:
        served = {deployment["id"]: deployment["name"] for deployment in ask("deployments")}
        done = ask("flow_runs", flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}})
        return {served[run["deployment_id"]] for run in done if run["deployment_id"] in served}

    wait_for(lambda: completed() == {"nightly-ingest", "weekly-pipeline"}, 300)
    assert "INCONCLUSIVE" in (tmp_path / "out" / "report" / "report.html").read_text()


def test_prefect_yaml_names_flows_that_exist(home: Path) -> None:
    from flows.serve import build_deployment, read_deployments

    roots = {"source": home, "out": home / "out"}
    built = [build_deployment(fields, roots, None) for fields in read_deployments()]
    assert [d.entrypoint for d in built] == ["flows.ingest.ingest_flow", "flows.pipeline.pipeline"]
    assert [d.schedules[0].schedule.cron for d in built] == ["0 2 * * *", "0 4 * * 0"]


def test_serve_needs_a_source(home: Path) -> None:
    from flows.serve import build_deployment, read_deployments
    from medsynth.core.errors import UsageProblem

    with pytest.raises(UsageProblem, match="--source"):
        build_deployment(read_deployments()[0], {}, None)
