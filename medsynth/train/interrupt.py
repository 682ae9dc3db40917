"""A training that is asked to end (SIGTERM) ends at a step, with its state saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from medsynth.core.errors import MedsynthError


class Interrupted(MedsynthError):
    """Training stopped because the process was asked to end; the next call goes on from there."""

    code = "interrupted"


@contextmanager
def heeding_sigterm() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM came since; outside the main thread it is left to whoever handles it."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)
