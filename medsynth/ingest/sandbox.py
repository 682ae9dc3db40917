"""Runs a function on hostile bytes in a child process that may crash, hang or ask for too much.

Codecs are C code that meets whatever an archive holds. They run in a child that has no secrets
in its environment, may write no file, and works under limits of memory, processor time and wall
clock; a child that dies is replaced at the next call. What it answers is numbers and bytes,
never a pickle, and is checked before it is believed.
"""

import atexit
import fcntl
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from medsynth.core.errors import MedsynthError, UnreadableScan
from medsynth.ingest.reasons import REASONS

_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from medsynth.ingest.cell import serve; serve()"
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_START_SECONDS = 60.0
_HEADER_BYTES = 1 << 20
_PIPE_BYTES = 1 << 20  # a plane of 512 x 512 fits: the child need not wait for the parent
_F_SETPIPE_SZ = 1031
_DEATHS: dict[int, str] = {signal.SIGXCPU: "timeout", signal.SIGKILL: "too_large"}


@dataclass(frozen=True)
class Limits:
    """What one call may take."""

    seconds: float
    """Wall clock and processor time, s."""
    memory_bytes: int
    """Bytes beyond what the child starts with; no answer may be larger either."""


class NoSandbox(MedsynthError):
    """The child did not start, which is no file's fault: the work must stop."""

    code = "no_sandbox"

    def __init__(self) -> None:
        super().__init__("the process that decodes must start, it did not: is memory left?")


def guarded(function: Callable[..., Any], *args: Any, limits: Limits) -> Any:
    """What a module-level function answers: an array, bytes, or plain JSON.

    Arguments are bytes or plain JSON; a list arrives as a tuple.

    Raises UnreadableScan: the function's own reason where it raised one, else `timeout`,
    `too_large`, `depth_limit` or `decode_failed`. Safe in threads and in pool workers: each call
    has a child for itself, and idle children are used again.
    """
    request = _request(function, args, limits)
    try:
        cell = _idle.pop()
    except IndexError:
        cell = _Cell()
    try:
        answer = cell.ask(request, limits)
    except BaseException:
        cell.kill()
        raise
    _idle.append(cell)
    if isinstance(answer, UnreadableScan):
        raise answer
    return answer


def _request(function: Callable[..., Any], args: Sequence[Any], limits: Limits) -> list[bytes]:
    """What the child is sent: sizes and plain arguments, then those that are bytes."""
    places = [place for place, one in enumerate(args) if isinstance(one, bytes)]
    head = {
        "function": f"{function.__module__}:{function.__qualname__}",
        "arguments": [None if place in places else one for place, one in enumerate(args)],
        "bytes": [(place, len(args[place])) for place in places],
        "seconds": limits.seconds,
        "memory_bytes": limits.memory_bytes,
    }
    text = json.dumps(head).encode()
    return [len(text).to_bytes(8, "little") + text, *(args[place] for place in places)]


class _Cell:
    """One child and the two pipes to it."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-B", "-c", _BOOT, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                bufsize=0,
            )
        except OSError:
            raise NoSandbox from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in (self._requests, self._answers):
            os.set_blocking(pipe, False)
            _widen(pipe)
        self._deadline = time.monotonic() + _START_SECONDS
        try:
            self._receive(1)
        except UnreadableScan:
            self.kill()
            raise NoSandbox from None

    def ask(self, request: Sequence[bytes], limits: Limits) -> Any:
        """The child's answer, or the refusal that it answered with."""
        self._deadline = time.monotonic() + limits.seconds
        for part in request:
            self._send(part)
        try:
            return self._answer(limits)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UnreadableScan("decode_failed") from None

    def _answer(self, limits: Limits) -> Any:
        size = int.from_bytes(self._receive(4), "little")
        if size > _HEADER_BYTES:
            raise UnreadableScan("decode_failed")
        header = json.loads(bytes(self._receive(size)))
        if header["kind"] == "refused":
            reason = header["reason"]
            return UnreadableScan(reason if reason in REASONS else "decode_failed")
        if header["kind"] == "json":
            return header["value"]
        return self._bulk(header, limits.memory_bytes)

    def _bulk(self, header: dict[str, Any], most_bytes: int) -> Any:
        """An array or bytes of the size that the header states, if that is allowed."""
        dtype, shape = np.dtype(str(header["dtype"])), [int(side) for side in header["shape"]]
        if dtype.kind not in "biuf" or min(shape, default=0) < 0:
            raise UnreadableScan("decode_failed")
        size = math.prod(shape) * dtype.itemsize
        if size > most_bytes:
            raise UnreadableScan("too_large")
        data = self._receive(size)
        return data.tobytes() if header["kind"] == "bytes" else data.view(dtype).reshape(shape)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._requests, select.POLLOUT)
            try:
                view = view[os.write(self._requests, view[:_PIPE_BYTES]) :]
            except BrokenPipeError:
                self._mourn()

    def _receive(self, size: int) -> Any:
        data = np.empty(size, np.uint8)
        view = data.data
        while view:
            self._wait(self._answers, select.POLLIN)
            count = os.readv(self._answers, [view])
            if not count:
                self._mourn()
            view = view[count:]
        return data

    def _wait(self, pipe: int, event: int) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        left = self._deadline - time.monotonic()
        if left <= 0 or not poll.poll(math.ceil(left * 1000)):
            raise UnreadableScan("timeout")

    def _mourn(self) -> None:
        """The child is gone: why, by the signal that ended it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        raise UnreadableScan(_DEATHS.get(-(self._process.returncode or 0), "decode_failed"))

    def kill(self) -> None:
        """End the child, whatever it does, and leave no zombie."""
        self._process.kill()
        self._process.wait()
        self._close()

    def close(self) -> None:
        """Let an idle child end."""
        self._close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.kill()

    def disown(self) -> None:
        """In a fork, the child is another's: let go of the pipes and do nothing else."""
        self._close()
        self._process.returncode = 0

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _widen(pipe: int) -> None:
    """A larger buffer where the system allows it."""
    with suppress(OSError):
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)


_idle: list[_Cell] = []


def close_all() -> None:
    """End the idle children; the next call starts one anew."""
    while _idle:
        _idle.pop().close()


def _disown_all() -> None:
    while _idle:
        _idle.pop().disown()


atexit.register(close_all)
os.register_at_fork(after_in_child=_disown_all)
