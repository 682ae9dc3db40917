"""The child's side of the sandbox: answers requests on its standard input until that closes.

It imports as little as it can, for it is started anew whenever a file broke it.
"""

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs  # noqa: F401  loaded before memory is limited, and once
import numpy as np

from medsynth.core.errors import UnreadableScan

_PAGE = resource.getpagesize()


def serve() -> None:
    """Read a request, run it under its limits, answer, and so on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    for forbidden in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(forbidden, (0, 0))
    own_bytes = _address_space()
    _send(answers, b"+")
    while head := requests.read(8):
        request = json.loads(requests.read(int.from_bytes(head, "little")))
        function, arguments = _function(request["function"]), _arguments(request, requests)
        _limit(resource.RLIMIT_AS, own_bytes + request["memory_bytes"])
        _limit(resource.RLIMIT_CPU, math.ceil(_cpu_seconds() + request["seconds"]) + 1)
        _answer(answers, function, arguments)


@cache
def _function(name: str) -> Callable[..., Any]:
    """The function that our parent calls "module:name"."""
    module, _, path = name.partition(":")
    attribute: Any = import_module(module)
    for part in path.split("."):
        attribute = getattr(attribute, part)
    found: Callable[..., Any] = attribute
    return found


def _arguments(request: dict[str, Any], requests: BinaryIO) -> list[Any]:
    """The arguments; bytes follow the request one after the other, lists arrive as tuples."""
    given = [tuple(one) if isinstance(one, list) else one for one in request["arguments"]]
    for place, size in request["bytes"]:
        given[place] = requests.read(size)
    return given


def _limit(kind: int, value: int) -> None:
    """The soft limit alone: the next request may have another one."""
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _answer(answers: BinaryIO, function: Callable[..., Any], args: list[Any]) -> None:
    try:
        header, data = _described(function(*args))
    except Exception as error:
        header, data = {"kind": "refused", "reason": _reason(error)}, b""
    text = json.dumps(header).encode()
    _send(answers, len(text).to_bytes(4, "little") + text)
    _send(answers, data)


def _reason(error: Exception) -> str:
    """A reason code; the text of an exception may quote the file, so it stays here."""
    if isinstance(error, UnreadableScan):
        return error.reason
    if isinstance(error, MemoryError):
        return "too_large"
    return "depth_limit" if isinstance(error, RecursionError) else "decode_failed"


def _described(value: Any) -> tuple[dict[str, Any], Any]:
    """(what the value is, its bytes): an array or bytes as they are, all else as JSON."""
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return {"kind": "array", "dtype": array.dtype.str, "shape": value.shape}, array.data
    if isinstance(value, bytes | bytearray):
        return {"kind": "bytes", "dtype": "|u1", "shape": [len(value)]}, value
    return {"kind": "json", "value": value}, b""


def _send(answers: BinaryIO, data: Any) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[answers.write(view) :]
