"""An end that was asked for (SIGTERM) comes within seconds, and leaves no process behind.

Python's own handlers run only between its instructions, and what they stop may take its time: a
step of a large network, a worker with its chunk, Prefect's client. Schedulers and torchrun signal
whole process groups: then Prefect's temporary server may be gone before the flow that reports to
it, which would try again for half a minute. So a thread of its own counts the seconds. What was
learned is saved by then, or lies as it was last saved, and the next run tells Prefect and MLflow
what became of this one (claim.py).
"""

import atexit
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import psutil

from flows.answer import refusal
from medsynth.core.errors import MedsynthError

_IN_ALL, _ONCE_SAVED = 8.0, 4.0  # seconds
_asked = threading.Event()


class Cut(MedsynthError):
    """A process that was asked to end and had not done so in time."""

    code = "interrupted"


@contextmanager
def ending_in_time() -> Iterator[None]:
    """Meanwhile SIGTERM ends the process after eight seconds, whatever it may be doing by then.

    If it ends by itself before, its children end with it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    _leave_nobody_at_exit()
    listener = threading.Thread(target=_listen, args=[heard], daemon=True)
    listener.start()
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()
        listener.join()


def _listen(heard: socket.socket) -> None:
    """Python writes the number of each signal there, before any handler of it runs."""
    with heard:
        while numbers := heard.recv(1):
            if numbers[0] == signal.SIGTERM:
                _asked.set()
                words = "asked to end; what was not saved by then is done again"
                _end_in(_IN_ALL, Cut(words))


def end_soon(error: MedsynthError) -> None:
    """From now on the process may end in order; after four seconds it ends as it is."""
    _end_in(_ONCE_SAVED, error)


def _end_in(seconds: float, error: MedsynthError) -> None:
    timer = threading.Timer(seconds, _end_now, [error])
    timer.daemon = True
    timer.start()


@cache
def _leave_nobody_at_exit() -> None:
    """Once, and early: what is registered first is called last, after Prefect's own farewells."""
    atexit.register(_leave_nobody)


def _leave_nobody() -> None:
    if _asked.is_set():
        _end_children()


def _end_children() -> None:
    for child in psutil.Process().children(recursive=True):
        child.kill()


def _end_now(error: MedsynthError) -> None:
    _end_children()
    print(f"medsynth: {error}", file=sys.stderr, flush=True)
    if "--json" in sys.argv:
        print(refusal(error).to_json(0.0), flush=True)
    os._exit(error.exit_code)
