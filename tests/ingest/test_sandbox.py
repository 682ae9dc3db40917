"""Whatever a function does in the sandbox, its caller gets an answer or one reason code."""

import copy
import ctypes
import gc
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from medsynth.core.errors import UnreadableScan
from medsynth.ingest import sandbox
from medsynth.ingest.sandbox import Limits, guarded

ROOM = Limits(seconds=20.0, memory_bytes=1 << 26)


def cells() -> list[psutil.Process]:
    """The sandboxes that live below this process."""
    below = psutil.Process().children(recursive=True)
    return [child for child in below if "medsynth.ingest.cell" in " ".join(child.cmdline())]


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "<f4", "<f8"])
def test_arrays_come_back_as_they_are(dtype):
    array = guarded(np.full, (3, 5, 2), 7, dtype, limits=ROOM)
    assert array.dtype == np.dtype(dtype)
    assert np.array_equal(array, np.full((3, 5, 2), 7, dtype))
    array += 1


@pytest.mark.parametrize(
    "value", [None, 3, 0.5, "word", [1, "a"], {"a": 1}, b"", b"\x00\xff", True]
)
def test_plain_values_come_back_as_they_are(value):
    answer = guarded(copy.copy, value, limits=ROOM)
    assert (answer, type(answer)) == (value, type(value))


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (time.sleep, (60,), "timeout"),
        (exec, ("while True: pass",), "timeout"),
        (np.ones, (1 << 30,), "too_large"),
        (np.zeros, ((1 << 24,),), "too_large"),
        (os.abort, (), "decode_failed"),
        (os._exit, (0,), "decode_failed"),
        (ctypes.string_at, (0,), "decode_failed"),
        (int, ("Doe^Jane",), "decode_failed"),
        (set, (), "decode_failed"),
        (exec, ("def f(): f()\nf()", {}), "depth_limit"),
        (exec, ("import os; os.write(1, b'x'); os.write(2, b'x'); os.abort()",), "decode_failed"),
    ],
)
def test_every_way_to_fail_has_its_reason_and_the_next_call_works(function, args, reason, capfd):
    limits = Limits(1.0 if reason == "timeout" else 20.0, ROOM.memory_bytes)
    with pytest.raises(UnreadableScan) as refused:
        guarded(function, *args, limits=limits)
    assert refused.value.reason == reason
    assert guarded(abs, -1, limits=ROOM) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reason", ["truncated", "Doe^Jane"])
def test_a_refusal_keeps_its_reason_only_if_that_is_on_the_list(reason):
    source = f"from medsynth.core.errors import UnreadableScan\nraise UnreadableScan({reason!r})"
    with pytest.raises(UnreadableScan) as refused:
        guarded(exec, source, {}, limits=ROOM)
    assert refused.value.reason == ("truncated" if reason == "truncated" else "decode_failed")


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00" * 4,
        b"\xff" * 4096,
        b"\x03\x00\x00\x00[1]",
        b'\x35\x00\x00\x00{"kind":"array","dtype":"|O","shape":[1],"padding":"1"}' + b"a" * 8,
        b'\x30\x00\x00\x00{"kind":"array","dtype":"<i8","shape":[-1,-2]   }' + b"a" * 16,
    ],
)
def test_a_child_in_a_strangers_hands_is_not_believed(answer):
    # Descriptor 3 and on: the child's own pipe is among them, whatever its number.
    source = f"import os\nfor n in range(3, 9):\n try: os.write(n, {answer!r})\n except OSError: 0"
    with pytest.raises(UnreadableScan) as refused:
        guarded(exec, source + "\nos._exit(0)", {}, limits=Limits(3.0, 1 << 26))
    assert refused.value.reason == "decode_failed"


def test_no_secret_reaches_the_child_and_no_byte_leaves_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSYNTH_KEYS", "secret")
    sandbox.close_all()
    assert guarded(eval, "dict(__import__('os').environ).get('MEDSYNTH_KEYS')", limits=ROOM) is None
    target = tmp_path / "out"
    with pytest.raises(UnreadableScan):
        guarded(exec, f"with open({str(target)!r}, 'wb') as out: out.write(b'x')", {}, limits=ROOM)
    assert not target.exists() or target.stat().st_size == 0


def test_one_child_serves_many_calls_and_none_is_left_behind():
    sandbox.close_all()
    assert len({guarded(os.getpid, limits=ROOM) for _ in range(20)}) == len(cells()) == 1
    with pytest.raises(UnreadableScan):
        guarded(os.abort, limits=ROOM)
    assert cells() == []
    guarded(os.getpid, limits=ROOM)
    sandbox.close_all()
    gc.collect()
    assert cells() == []


def test_threads_do_not_wait_for_each_other_nor_mix_answers():
    def ask(number: int) -> int:
        return int(guarded(np.full, (200, 200), number, limits=ROOM).max())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(60))) == list(range(60))
    assert 1 <= len(cells()) <= 4


def _pid_of_cell(_: int) -> int:
    return int(guarded(os.getpid, limits=ROOM))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_gets_a_child_of_its_own():
    own = guarded(os.getpid, limits=ROOM)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str(_pid_of_cell(0)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(reader, 20)) != own
    assert guarded(os.getpid, limits=ROOM) == own
    os.close(reader)
    os.close(writer)


SCRIPT = """
import os, multiprocessing, psutil
from medsynth.ingest.sandbox import guarded, Limits
def ask(_):
    return guarded(os.getpid, limits=Limits(20.0, 1 << 26))
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(*pool.map(ask, range(4)), ask(0))
"""


def test_nothing_is_left_or_printed_when_a_program_and_its_workers_end(tmp_path):
    (tmp_path / "program.py").write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(int(pid)) for pid in run.stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_whose_parent_was_killed_ends_by_itself():
    source = SCRIPT.split("def ask")[0] + (
        "print(guarded(os.getpid, limits=Limits(20.0, 1 << 26)), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(run.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
