"""`medsynth ingest` from an archive: one command line, nothing of a person left in any store."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.cli import answer
from medsynth.ingest.pacs.problems import ArchiveRefused, ArchiveUnreachable

Make = Callable[..., list[Path]]
IDENTIFIERS = (b"91827364", b"Abendroth", b"ACC5550199", b"19610203", b"2.25.4711")


def run(home: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "flows.cli", *arguments, "--json"]
    # Another test's Prefect server lives outside the archive's network namespace.
    outer = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    own = {"MEDSYNTH_HOME": str(home), "PREFECT_HOME": str(home / "prefect"), **environment}
    done = subprocess.run(
        command, env={**outer, **own}, capture_output=True, text=True, timeout=180
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "exit": done.returncode, "said": done.stdout + done.stderr}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MEDSYNTH_HOME", str(tmp_path / "home"))
    assert answer(["keys", "init"]).exit_code == 0
    return tmp_path / "home"


def test_an_archive_is_ingested_and_leaves_no_identifier_anywhere(
    orthanc: Any, home: Path, tmp_path: Path, make_series: Make
) -> None:
    orthanc.add(*make_series(4, series="2.25.4711", size=24))
    config = tmp_path / "pacs.toml"
    config.write_text("[pacs]\nsettle_polls = 1\nquiet_seconds = 0\nmodalities = ['MR']\n")
    done = run(home, "ingest", orthanc.web, str(tmp_path / "out"), "--config", str(config))
    assert done["exit"] == 0, done["said"]
    assert done["num_volumes"] == 1
    assert done["retrieved"]["num_instances"] == 4
    assert done["retrieved"]["dead_letters"] == {}
    outside = [p for p in home.rglob("*") if p.is_file() and p.suffix != ".dcm"]
    texts = [p.read_bytes() for p in [*outside, *(tmp_path / "out").rglob("*.json")]]
    texts += [str(p).encode() for p in home.rglob("*")] + [done["said"].encode()]
    assert not [word for word in IDENTIFIERS for text in texts if word in text]


def test_a_prefect_server_that_does_not_answer_is_named(home: Path, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9/api"
    source = tmp_path / "scans"
    source.mkdir()
    done = run(home, "ingest", str(source), str(tmp_path / "out"), PREFECT_API_URL=nowhere)
    assert done["exit"] == 2
    assert "PREFECT_API_URL must answer" in done["error"]["message"]


@pytest.mark.parametrize(("error", "again"), [(ArchiveUnreachable, True), (ArchiveRefused, False)])
def test_only_an_archive_that_does_not_answer_is_asked_again(
    error: type[Exception], again: bool
) -> None:
    from prefect.states import Failed

    from flows.pacs import _is_worth_another_try

    state: Any = Failed(data=error("no answer"))
    assert _is_worth_another_try(None, None, state) is again  # type: ignore[arg-type]
