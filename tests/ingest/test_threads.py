"""Threads change how long an ingest takes and nothing that it says."""

import operator

import pytest

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.stage import open_stage
from medsynth.core.threads import num_threads, use_threads
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.quarantine import read_quarantine
from medsynth.ingest.workers import Processes


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(4)))
    yield
    use_threads(4)


def test_one_thread_and_four_give_the_same_stage(phantoms, tmp_path, four_threads):
    stages = []
    for count in (1, 4):
        use_threads(count)
        stages.append(ingest(phantoms, tmp_path / str(count), DEMO_KEYS))
    assert stages[0].digest == stages[1].digest
    assert open_stage(stages[1].path) == stages[1]


@pytest.mark.parametrize("count", [1, 4])
def test_a_file_that_breaks_in_a_thread_is_the_one_that_is_refused(
    kit, tmp_path, four_threads, count
):
    use_threads(count)
    folder = kit.save_all(kit.series(), tmp_path / "in")
    broken = sorted(folder.iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:-10])
    stage = ingest(folder, tmp_path / "out", DEMO_KEYS, IngestConfig(min_matrix=1))
    assert read_quarantine(stage.path) == {"truncated": 1}
    assert open_stage(stage.path) == stage


def test_a_worker_process_keeps_to_one_thread():
    with Processes(1) as workers:
        assert list(workers.map(operator.call, [num_threads])) == [1]
