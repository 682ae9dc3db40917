"""The fold ledger's file: JSON lines that are only ever added, by one writer at a time.

A line is {"name", "subject", "fold"}, one per subject of a data set in the order in which they were
assigned, or {"name", "review", "same", "different"}, one per review of who is the same person.
"""

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

from medsynth.core.errors import MedsynthError
from medsynth.core.journal import read_whole_lines
from medsynth.core.manifest import FOLDS

Line = Mapping[str, Any]


def read_lines(file: IO[str], name: str) -> list[Line]:
    """The data set's lines; a last line that a killed run left unfinished is cut off."""
    lines = [_parsed(line) for line in read_whole_lines(file)]
    return [line for line in lines if line["name"] == name]


def add_lines(file: IO[str], lines: Sequence[Line]) -> None:
    """Write lines behind the last one; the ledger must have been read."""
    for line in lines:
        file.write(json.dumps(dict(line), sort_keys=True) + "\n")


def _parsed(text: str) -> Line:
    try:
        line = json.loads(text)
        is_whole = "name" in line and (line.get("fold") in FOLDS and "subject" in line)
        is_whole = is_whole or all(field in line for field in ("name", "review", "same"))
    except (ValueError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        raise MedsynthError("the fold ledger is damaged; restore it from a copy")
    return dict(line)
