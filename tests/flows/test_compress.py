"""`medsynth compress` on a tiny generator: kept where nothing is worse, else nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.compression_table import compression_table, reason_lines
from medsynth.core.errors import UsageProblem

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow and Prefect warn of themselves

TOML = """
[evaluate.comparison]
min_compared = {least}
num_draws = 20
[evaluate.comparison.two_sample]
num_steps = 4
[compress]
rounds = 3
"""


@pytest.fixture
def try_bf16(first_run: Any, make_job: Callable[[Path], Any], tmp_path: Path) -> Any:
    """Compress the tiny generator, comparing from so many scans on."""
    from flows.compress import compress_flow

    def run(least: int) -> Any:
        given = make_job(tmp_path / "out")
        (tmp_path / "config.toml").write_text(given.config.read_text() + TOML.format(least=least))
        job = given.model_copy(update={"config": tmp_path / "config.toml"})
        return compress_flow(job, first_run.path("checkpoint"), first_run.path("prepared"), "bf16")

    return run


def test_a_generator_in_bf16_is_kept_and_can_be_sampled(try_bf16: Any, tmp_path: Path) -> None:
    from flows.summary import compress_answer
    from medsynth.checkpoint import load_generator

    outcome = try_bf16(6)
    answer = compress_answer(outcome)
    said = json.loads(answer.to_json(1.0, "compress"))
    assert (answer.exit_code, said["accepted"], said["reason"]) == (0, "bf16", None)
    assert answer.lines[0] == "bf16: accepted"
    cost, source = (
        said["compression"][part]["cost"] if part == "source" else part["cost"]
        for part in (said["compression"]["candidates"]["bf16"], "source")
    )
    assert cost["num_bytes"] < 0.7 * source["num_bytes"]
    kept = outcome.path("checkpoint")
    assert kept == tmp_path / "out/checkpoint"
    assert load_generator(kept).precision == "bf16"
    assert json.loads((kept / "compression.json").read_text()) == said["compression"]
    assert not list((outcome.path("compression")).rglob("*.nii"))
    assert try_bf16(6).reused == ("compression", "checkpoint")


def test_what_cannot_be_shown_to_hold_goes_nowhere(try_bf16: Any, tmp_path: Path) -> None:
    from flows.summary import compress_answer

    outcome = try_bf16(20)
    answer = compress_answer(outcome)
    assert answer.exit_code == 3
    assert "too few scans" in json.loads(answer.to_json(1.0, "compress"))["reason"]
    assert not (tmp_path / "out/checkpoint").exists()
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_the_source_is_never_overwritten_nor_measured_on_other_folds(
    first_run: Any, make_job: Callable[[Path], Any], tmp_path: Path
) -> None:
    from flows.compress import _check_parents
    from medsynth.core.stage import open_stage

    checkpoint, prepared = (open_stage(first_run.path(n)) for n in ("checkpoint", "prepared"))
    with pytest.raises(UsageProblem, match="name another OUT"):
        _check_parents(checkpoint.path.parent, checkpoint, prepared)
    with pytest.raises(UsageProblem, match="the folds that this generator learned from"):
        _check_parents(tmp_path, checkpoint, checkpoint)


def test_the_table_of_four_candidates_fits_a_terminal() -> None:
    metric = {"value": 0.123, "floor": 0.1, "low": -0.11, "high": 0.14, "n": 99}
    check = {"source": metric, "candidate": metric, "limit": 0.123, "result": "worse"}
    cost = {
        "num_bytes": 123456789,
        "num_parameters": 12345678,
        "passes": 20.0,
        "seconds_per_scan": 0.1,
    }
    one = {
        "cost": cost,
        "speedup": metric,
        "checks": [{**check, "name": "agreement_lesion_volume_mm3"}],
        "reasons": ["coverage is worse"],
    }
    found = {"source": {"cost": cost}, "candidates": {f"{n} steps": one for n in (1, 2, 4)}}
    console = Console(width=100)
    with console.capture() as shown:
        console.print(compression_table(found))
    assert max(map(len, shown.get().splitlines())) <= 100
    assert "…" not in shown.get()
    assert "agreement lesion volume mm3" in shown.get()
    assert reason_lines(found)[0] == "1 steps: refused: coverage is worse"
