"""One Prefect server, one home and one small pipeline run for every test of this room."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TINY = Path(__file__).with_name("tiny.toml")
SERVER_SECONDS = 120


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with keys, quiet; the environment that the command line would set."""
    from flows.home import Home, set_environment

    folder = tmp_path_factory.mktemp("home")
    before = dict(os.environ)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["OMP_NUM_THREADS"] = "1"  # small networks on shared cores: threads only wait
    os.environ.update(MEDSYNTH_HOME=str(folder), PREFECT_HOME=str(folder / "prefect"))
    set_environment(Home(folder))
    Home(folder).init_keys()
    import torch

    torch.set_num_threads(1)
    yield folder
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def _few_lessons() -> Iterator[None]:
    """What a detector needs to learn of phantoms is soon learned."""
    from privacy.screen import detector

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "MOST_DISGUISED", 60)
        patch.setattr(detector, "ROUNDS", 1)
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def server(home: Path, start: Any, wait_for: Any) -> Iterator[str]:
    """A real `prefect server start`; its address, which this process uses too."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    wait_for(lambda: _is_healthy(url), SERVER_SECONDS)
    os.environ["PREFECT_API_URL"] = url
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        yield url


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    """End a process and everything it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def start(home: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a Python module in a process group of its own; all are ended in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str | Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *map(str, arguments)]
        with (home / f"process-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in reversed(started):
        if process.poll() is None:
            _stop(process)


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool], float], None]:
    """Return once it is true; fail after so many seconds."""

    def wait(is_true: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.2)

    return wait


@pytest.fixture(scope="session")
def ask(server: str) -> Callable[..., list[dict[str, Any]]]:
    """What the Prefect server stores of a kind: artifacts, deployments, flow_runs."""

    def read(kind: str, **filters: Any) -> list[dict[str, Any]]:
        body, head = json.dumps(filters).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server}/{kind}/filter", body, head)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    return read


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty phantoms as a DICOM archive."""
    from medsynth.ingest.phantom_archive import write_phantom_archive

    return write_phantom_archive(tmp_path_factory.mktemp("in") / "a", num_subjects=60, size=32)


@pytest.fixture(scope="session")
def make_job(archive: Path, home: Path) -> Callable[[Path], Any]:
    """The job of a small run into an OUT."""
    from flows.job import Job

    return lambda out: Job(
        out=out,
        config=TINY,
        source=archive / "dicom",
        attributes=archive / "clinical.csv",
        home=home,
        is_demo=True,
    )


@pytest.fixture(scope="session")
def first_run(
    server: str, make_job: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A whole small pipeline run."""
    from flows.pipeline import pipeline

    return pipeline(make_job(tmp_path_factory.mktemp("out")))
