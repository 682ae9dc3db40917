"""A cluster behind Prefect makes the very stage that one process makes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig, read_config
from medsynth.core.errors import UsageProblem
from medsynth.ingest.phantom_archive import write_phantom_archive

CLUSTERS = {"dask:1": "prefect_dask", "ray:1": "prefect_ray"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_archive(tmp_path_factory.mktemp("a") / "p", num_subjects=10, size=16)


@pytest.fixture
def ingest_digest(server: str, archive: Path, tmp_path: Path) -> Callable[[str], str]:
    """The digest of the stage that these workers make."""

    def run(workers: str) -> str:
        from flows.ingest import ingest_flow
        from flows.job import Job

        (tmp_path / "c.toml").write_text(f'workers = "{workers}"\n')
        out = tmp_path / workers.replace(":", "-")
        outcome = ingest_flow(Job(out=out, config=tmp_path / "c.toml", source=archive / "dicom"))
        return outcome.stages[-1].digest

    return run


@pytest.mark.parametrize("workers", ["processes:2", *CLUSTERS])
def test_any_workers_make_the_same_stage(ingest_digest: Any, workers: str) -> None:
    package = CLUSTERS.get(workers)
    if package and not importlib.util.find_spec(package):
        pytest.skip(f"{package} of the extra 'cluster' is not installed")
    assert ingest_digest(workers) == ingest_digest("")


@pytest.mark.parametrize("line", ["threads:2", "processes:0", "dask:", "dask:http://x", "ray:x"])
def test_a_line_that_names_no_workers_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "c.toml").write_text(f'workers = "{line}"\n')
    with pytest.raises(UsageProblem, match="workers"):
        read_config(tmp_path / "c.toml")


@pytest.mark.parametrize("line", ["", "dask:tcp://h:8786", "dask:tls://h:8786", "ray://h:10001"])
def test_clusters_are_named_by_their_address(line: str) -> None:
    assert RunConfig(workers=line).workers == line
