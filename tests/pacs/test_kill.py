"""kill -9 at every step and at random moments: each SOP instance is there once in the end.

A child is forked in Orthanc's network. Python's audit hooks tell of every file that it opens,
renames, links or removes below the spool, and each ledger transaction counts at its begin, before
its commit and after it; at the chosen one of these steps the child kills itself.
"""

import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medsynth.core.digest import file_digest
from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest.pacs.ledger import Ledger
from medsynth.ingest.pacs.spool import open_spool

Make = Callable[..., list[Path]]
STEPS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.utime"}


class Steps:
    """Counts the steps of this process and kills it at one of them."""

    def __init__(self, folder: Path, kill_at: int) -> None:
        self._folder, self._kill_at = str(folder), kill_at
        self.count = 0

    def step(self) -> None:
        if self.count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_ours = event == "os.utime" or str(arguments[:1]).find(self._folder) >= 0
        if event in STEPS and is_ours:
            self.step()


def fork(client: Any, action: Callable[[], object], kill_at: int) -> int | None:
    """Run in a child that kills itself at a step; number of steps where it came to its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            steps = Steps(client.folder, kill_at)
            _count_transactions(steps)
            sys.addaudithook(steps.heard)
            action()
            os.write(writing, str(steps.count).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    assert said or os.WTERMSIG(status) == signal.SIGKILL, "the child failed by itself"
    return int(said) if said else None


def _count_transactions(steps: Steps) -> None:
    original = Ledger._transaction

    @contextmanager
    def counted(ledger: Ledger) -> Iterator[Any]:
        steps.step()
        with original(ledger) as database:
            yield database
            steps.step()
        steps.step()

    Ledger._transaction = counted  # type: ignore[method-assign]


def assert_exactly_once(client: Any, same: Any, sent: list[Path]) -> None:
    assert same(client.ready(), sent)
    assert not client.incoming()
    with open_spool(client.folder, DEMO_KEYS) as spool:
        for path in client.ready():
            stored = spool.ledger.find(path.stem)
            assert stored is not None
            assert stored.sha256 == file_digest(path)
        assert spool.ledger.count_instances() == len(sent)


@pytest.fixture
def grown(orthanc: Any, client: Any, make_series: Make) -> list[Path]:
    """A spool that has one series, an archive where it has grown and where there is another."""
    first = make_series(2, study="1.2.3", series="1.2.3.4")
    orthanc.add(*first)
    client.fetch(orthanc.web)
    later = [*make_series(1, first=2, study="1.2.3", series="1.2.3.4"), *make_series(2)]
    orthanc.add(*later)
    return [*first, *later]


def test_a_kill_at_every_step_ends_exactly_once(
    orthanc: Any, client: Any, grown: list[Path], same: Any, tmp_path: Path
) -> None:
    before = shutil.copytree(client.folder, tmp_path / "before")
    draw, kill_at, total = random.Random(0), 0, None
    while total is None:
        shutil.rmtree(client.folder)
        shutil.copytree(before, client.folder)
        total = fork(client, lambda: client.fetch(orthanc.web), kill_at)
        # The run that puts it right is killed, too: repair must bear it as well.
        fork(client, lambda: client.fetch(orthanc.web), draw.randrange(60))
        client.fetch(orthanc.web)
        assert_exactly_once(client, same, grown)
        kill_at += 1
    assert kill_at > 40


@pytest.mark.parametrize(("kind", "num_kills"), [("web", 8), ("dimse", 4)])
def test_kills_at_random_moments_end_exactly_once(
    orthanc: Any, client: Any, make_series: Make, same: Any, kind: str, num_kills: int
) -> None:
    sent = [path for _ in range(3) for path in make_series(6, size=256)]
    orthanc.add(*sent)
    address, folder = getattr(orthanc, kind), client.folder
    begin = time.monotonic()
    client.fetch(address)
    whole_s, draw = time.monotonic() - begin, random.Random(1)
    num_killed = num_midway = 0
    while num_killed < num_kills or not num_midway:
        if len(client.ready()) == len(sent):
            assert_exactly_once(client, same, sent)
            shutil.rmtree(folder)
        num_killed += kill_after(draw.uniform(0.0, whole_s), lambda: client.fetch(address))
        num_midway += 0 < len(client.ready()) + len(client.incoming()) < len(sent)
    client.fetch(address)
    assert_exactly_once(client, same, sent)


def kill_after(seconds: float, action: Callable[[], object]) -> bool:
    """Run in a child, kill it after a while; whether that came before its end."""
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_file_that_is_lost_is_fetched_again(
    orthanc: Any, client: Any, make_series: Make, same: Any
) -> None:
    sent = make_series(3)
    orthanc.add(*sent)
    client.fetch(orthanc.web)
    client.ready()[1].unlink()
    assert client.fetch(orthanc.web).num_instances == 1
    assert_exactly_once(client, same, sent)


def test_repair_adopts_what_is_whole_removes_what_is_not_and_shows_what_was_shown(
    orthanc: Any, client: Any, make_series: Make, same: Any
) -> None:
    sent = make_series(3)
    orthanc.add(*sent)
    client.fetch(orthanc.web)
    (series,) = (client.folder / "ready").iterdir()
    with sqlite3.connect(client.folder / "ledger.sqlite") as ledger:
        ledger.execute("DELETE FROM instances WHERE sop_key = ?", [client.ready()[0].stem])
    ledger.close()
    (series / f"sop-{'0' * 24}.dcm").write_bytes(sent[0].read_bytes())  # not its name
    (series / f"sop-{'1' * 24}.dcm").write_bytes(b"torn")
    series.rename(client.folder / "incoming" / f"{series.name}.replaced")
    with open_spool(client.folder, DEMO_KEYS):
        pass
    assert_exactly_once(client, same, sent)
