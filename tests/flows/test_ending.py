"""SIGTERM ends a process in time, whatever it is doing, and what it started ends with it."""

import json
import signal
import subprocess
import sys

import psutil
import pytest

SECONDS = 60
SCRIPT = """
import ctypes, signal, subprocess, sys, time
from flows import ending

ending._IN_ALL = float("{seconds}")

def deaf():
    while True:
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            print("swallowed", flush=True)

def native():
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    while True:  # the second lock waits for the first, where Python hears nothing
        try:
            library.pthread_mutex_lock(mutex)
        except KeyboardInterrupt:
            pass

def willing():
    time.sleep(1000)

signal.signal(signal.SIGTERM, signal.default_int_handler)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
with ending.ending_in_time():
    with ending.ending_in_time():
        pass
    print(child.pid, flush=True)
    {how}()
"""


def _ended(how, seconds):
    """Exit code, what it said, and whether its child is gone."""
    run = [sys.executable, "-c", SCRIPT.format(how=how, seconds=seconds), "--json"]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    child = psutil.Process(int(process.stdout.readline()))
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=SECONDS)[0]
    alive = psutil.wait_procs([child], timeout=2)[1]
    for one in alive:
        one.kill()
    return process.returncode, said, not alive


@pytest.mark.parametrize("how", ["deaf", "native"])
def test_what_does_not_end_by_itself_is_ended_with_its_children(how):
    code, said, is_childless = _ended(how, 0.3)
    assert (code, is_childless) == (1, True)
    assert json.loads(said.splitlines()[-1])["error"]["code"] == "interrupted"
    assert ("swallowed" in said) == (how == "deaf")


def test_what_ends_by_itself_takes_its_children_along():
    code, said, is_childless = _ended("willing", 1000)
    # As Python ends on a KeyboardInterrupt.
    assert (code, said, is_childless) == (-signal.SIGINT, "", True)
