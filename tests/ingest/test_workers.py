"""Whoever does the work, the stage is the same; who dies over a file costs that file alone."""

import json
import os
import pickle
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, Provenance, Scan
from medsynth.ingest import collect, readings
from medsynth.ingest.archive import ingest
from medsynth.ingest.chunks import answers, by_count, by_size
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.quarantine import read_quarantine
from medsynth.ingest.workers import Here, Processes, in_order

CONFIG = IngestConfig(min_matrix=1, localizers=True)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes(2) as workers:
        yield workers


@dataclass
class Mortal:
    """Workers that die over every chunk with one of these files, and over some by accident."""

    deadly: tuple[str, ...] = ()
    accidents: int = 0
    chunks: list[int] = field(default_factory=list)

    def map(self, function: Callable[[Any], Any], chunks: Iterable[Any]) -> Iterator[Any]:
        for chunk in chunks:
            self.chunks.append(len(chunk))
            text = pickle.dumps(chunk)
            if any(name.encode() in text for name in self.deadly):
                yield None
            elif self.accidents:
                self.accidents -= 1
                yield None
            else:
                yield function(chunk)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_FILES", 7)
    monkeypatch.setattr(collect, "_PIECES", 2)


@pytest.fixture
def archive(kit, tmp_path: Path) -> Path:
    """Three series of eight planes, a picture and garbage."""
    source = tmp_path / "in"
    for name in "abc":
        tags = {"SeriesInstanceUID": f"1.2.{ord(name)}", "PatientID": name}
        kit.save_all(kit.series(**tags), source / name)
    (source / "a" / "garbage").write_bytes(os.urandom(2000))
    return source


@pytest.mark.parametrize("workers", [Here(), "processes"])
def test_answers_come_in_order(workers, processes):
    workers = processes if workers == "processes" else workers
    assert list(workers.map(len, ["a" * n for n in range(50)])) == list(range(50))


def test_a_process_that_dies_costs_its_chunk_and_is_replaced(processes):
    words = ["1", "__import__('os').abort()", "3", "__import__('os')._exit(0)", "5", "6"]
    assert list(processes.map(eval, words)) == [1, None, 3, None, 5, 6]
    assert list(processes.map(eval, ["7", "8"])) == [7, 8]


def test_a_fault_of_ours_is_raised_and_not_counted_as_a_death(processes):
    with pytest.raises(ZeroDivisionError):
        list(processes.map(eval, ["1", "1/0"]))
    assert list(processes.map(eval, ["2"])) == [2]


def test_only_so_many_chunks_are_taken_in_advance():
    taken = iter(range(100))
    results = in_order(lambda chunk: lambda: chunk, taken, ahead=3)
    assert [next(results), next(results)] == [0, 1]
    assert next(taken) == 4


def test_chunks_keep_every_item_once_and_in_order():
    assert [list(c) for c in by_count(range(5), 2)] == [[0, 1], [2, 3], [4]]
    sizes = deque([5, 1, 1, 9, 30, 1, 1, 1, 1])
    chunks = list(by_size(sizes, int, most=10, most_items=3))
    assert chunks == [[5, 1, 1], [9], [30], [1, 1, 1], [1]]
    assert not sizes


def test_a_lost_chunk_is_done_again_item_by_item():
    workers = Mortal(deadly=("bad",))
    chunks = [["a", "b"], ["c", "bad", "d"], ["e"]]
    got = list(answers(workers, list, chunks, lambda item: [item.upper()]))
    assert got == [(2, ["a", "b"]), (1, ["c"]), (1, ["BAD"]), (1, ["d"]), (1, ["e"])]
    assert workers.chunks == [2, 3, 1, 1, 1, 1, 1, 1]


def test_processes_make_the_very_stage_that_this_process_makes(
    archive, phantoms, tmp_path, processes, small_chunks
):
    shutil.copytree(phantoms / "dicom", archive / "phantoms")
    table = phantoms / "clinical.csv"
    here = ingest(archive, tmp_path / "here", DEMO_KEYS, CONFIG, table=table)
    there = ingest(archive, tmp_path / "there", DEMO_KEYS, CONFIG, table=table, workers=processes)
    assert here.digest == there.digest
    assert len(Manifest.read(here.path)) > 40
    assert not (here.path / "arriving").exists()


def test_a_worker_that_dies_by_accident_costs_nothing(archive, tmp_path, small_chunks):
    here = ingest(archive, tmp_path / "here", DEMO_KEYS, CONFIG)
    there = ingest(archive, tmp_path / "there", DEMO_KEYS, CONFIG, workers=Mortal(accidents=1))
    assert here.digest == there.digest


def test_a_file_whose_header_kills_is_refused_alone(archive, tmp_path, small_chunks):
    made = ingest(archive, tmp_path / "out", DEMO_KEYS, CONFIG, workers=Mortal(("garbage",)))
    assert read_quarantine(made.path) == {"crashed": 1}
    assert len(Manifest.read(made.path)) == 3


def test_a_plane_whose_pixels_kill_does_not_lose_its_series(kit, archive, tmp_path, small_chunks):
    @dataclass
    class KilledByPixels(Mortal):
        def map(self, function, chunks):
            deadly = () if isinstance(function, readings.Finder) else ("b/IM003",)
            return Mortal(deadly, chunks=self.chunks).map(function, chunks)

    workers = KilledByPixels()
    made = ingest(archive, tmp_path / "out", DEMO_KEYS, CONFIG, workers=workers)
    refused = read_quarantine(made.path)
    assert refused["crashed"] == 1
    flags = [set(scan.flags) for scan in Manifest.read(made.path)]
    assert len(flags) == 3
    assert sum("files_quarantined" in one for one in flags) == 1
    summary = json.loads((made.path / "summary.json").read_text())
    assert summary["num_read"] + sum(refused.values()) == summary["num_files"]


def test_workers_get_no_secret_but_the_one_that_names(archive, tmp_path):
    @dataclass
    class Curious(Mortal):
        seen: bytes = b""

        def map(self, function, chunks):
            self.seen += pickle.dumps(function)
            return super().map(function, chunks)

    workers = Curious()
    ingest(archive, tmp_path / "out", DEMO_KEYS, CONFIG, workers=workers)
    assert DEMO_KEYS.secret in workers.seen
    assert DEMO_KEYS.signing not in workers.seen
    assert DEMO_KEYS.vault not in workers.seen


def test_what_a_killed_run_left_is_written_anew(archive, tmp_path):
    first = ingest(archive, tmp_path / "a", DEMO_KEYS, CONFIG)
    request = first.receipt
    with pytest.raises(KeyboardInterrupt):
        ingest(archive, tmp_path / "b", DEMO_KEYS, CONFIG, progress=_stop)
    (partial,) = (tmp_path / "b" / ".partial").iterdir()
    (partial / "volumes").mkdir(exist_ok=True)
    (partial / "volumes" / "left.nii").write_bytes(b"x")
    assert ingest(archive, tmp_path / "b", DEMO_KEYS, CONFIG).receipt == request


def _stop(done: int, total: int) -> None:
    if done > total // 2:
        raise KeyboardInterrupt


def test_scans_survive_the_way_between_processes():
    provenance = Provenance(("sop-1",), 2, 1.0, {"EchoTime": 3.0})
    affine = tuple(np.eye(4).ravel().tolist())
    told = {"attributes": {"a": 1.0}, "provenance": provenance, "flags": ("f",)}
    scan = Scan("s", "p", "x", "d", "CT", (1, 1, 1), affine, "int16", **told)
    copy = pickle.loads(pickle.dumps(scan))
    assert copy == scan
    with pytest.raises(TypeError):
        copy.attributes["a"] = 2.0
