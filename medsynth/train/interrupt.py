"""A training that is asked to end (SIGTERM) ends at a step, with its state saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medsynth.core.errors import MedsynthError


class Interrupted(MedsynthError):
    """Training stopped because the process was asked to end; the next call goes on from there."""

    code = "interrupted"


class AskedToEnd(BaseException):
    """SIGTERM came, and what was going on is left undone."""


class Ending:
    """Whether SIGTERM came, and whether the work at hand may be left at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self._is_at_once = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Work that changes nothing that lasts; raises AskedToEnd instead of going on with it."""
        self._is_at_once = True
        try:
            if self.is_asked:
                raise AskedToEnd
            yield
        finally:
            self._is_at_once = False

    def hear(self) -> None:
        """What SIGTERM does."""
        self.is_asked = True
        if self._is_at_once:
            self._is_at_once = False
            raise AskedToEnd


@contextmanager
def heeding_sigterm() -> Iterator[Ending]:
    """Hear SIGTERM; outside the main thread it is left to whoever handles it.

    One that came too late to be heeded goes to whoever heard it before.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: ending.hear())
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, before)
    if ending.is_asked:
        signal.raise_signal(signal.SIGTERM)
