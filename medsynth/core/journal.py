"""A file of lines that is only ever added to, by one writer at a time, and survives a kill."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def open_journal(path: Path) -> Iterator[IO[str]]:
    """The file, locked until the block ends; its folder and file are made where missing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
        file.flush()
        os.fsync(file.fileno())


def read_whole_lines(file: IO[str]) -> list[str]:
    """All lines, the place then behind them; one that a killed run left unfinished is cut off."""
    text = file.read()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.seek(0)
        file.truncate(len(whole.encode()))
    file.seek(0, os.SEEK_END)
    return whole.splitlines()
