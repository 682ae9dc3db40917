"""The account of an ingest: what became of every input file, for the terminal and the page."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from medsynth.ingest.quarantine import FILE_NAME
from medsynth.ingest.reasons import FLAGS, LEFT_OUT, REASONS, words_of

SUMMARY = "summary.json"
_NO_FILE = ("missing_file",)  # the table's word alone: there is no file to count


@dataclass(frozen=True)
class Line:
    """So many files or volumes under one code, with its explanation; `stage` refused them."""

    code: str
    words: str
    count: int
    stage: str = ""


@dataclass(frozen=True)
class Missingness:
    """Volumes without a value of one attribute, and where the values of the others came from.

    `refused` counts volumes with a value out of range or not on the list (another source may have
    given theirs), `ambiguous` those with several values in one source, `conflicting` those whose
    sources contradict each other; the latter two are among `missing`.
    """

    name: str
    missing: int
    refused: int
    ambiguous: int
    conflicting: int
    sources: Mapping[str, int]


@dataclass(frozen=True)
class Account:
    """Counts of one ingest.

    Every input file is read, refused or left out. A file of several volumes of which one was
    refused stands in two of these; `in_two_rows` says how many do.
    """

    num_files: int
    num_read: int
    num_volumes: int
    num_subjects: int
    num_flagged: int
    refused: tuple[Line, ...]
    left_out: tuple[Line, ...]
    not_found: int
    flags: tuple[Line, ...]
    modalities: Mapping[str, int]
    attributes: tuple[Missingness, ...]

    @property
    def num_refused(self) -> int:
        """Files refused."""
        return sum(line.count for line in self.refused)

    @property
    def num_left_out(self) -> int:
        """Files left out by choice."""
        return sum(line.count for line in self.left_out)

    @property
    def in_two_rows(self) -> int:
        """Files that were both read and refused; negative where a file was lost from sight."""
        return self.num_read + self.num_refused + self.num_left_out - self.num_files


def read_account(folder: Path) -> Account:
    """The account of a manifest stage, or of one that is being built."""
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
    refused = _refusals(folder)
    return Account(
        num_files=summary["num_files"],
        num_read=summary["num_read"],
        num_volumes=summary["num_volumes"],
        num_subjects=summary["num_subjects"],
        num_flagged=summary["num_flagged"],
        refused=tuple(line for line in refused if line.code not in _NO_FILE),
        left_out=_lines(summary["left_out"], LEFT_OUT),
        not_found=sum(line.count for line in refused if line.code in _NO_FILE),
        flags=_lines(summary["flags"], FLAGS),
        modalities=summary["modalities"],
        attributes=_missingness(summary["attributes"]),
    )


def _missingness(rows: Mapping[str, Mapping[str, Any]]) -> tuple[Missingness, ...]:
    """Every attribute, most missing first."""
    found = [
        Missingness(
            name=name,
            missing=row["missing"],
            refused=row["refused"],
            ambiguous=row["ambiguous"],
            conflicting=row["conflict"],
            sources=row["from"],
        )
        for name, row in rows.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.missing, one.name)))


def _refusals(folder: Path) -> list[Line]:
    """Refused files by stage and reason, most first."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in pq.read_table(folder / FILE_NAME).to_pylist():
        counts[row["stage"], row["reason"]] += row["count"]
    lines = [Line(code, words_of(code, REASONS), n, stage) for (stage, code), n in counts.items()]
    return sorted(lines, key=lambda line: (-line.count, line.code, line.stage))


def _lines(counts: Mapping[str, int], words: dict[str, str]) -> tuple[Line, ...]:
    lines = [Line(code, words_of(code, words), count) for code, count in counts.items()]
    return tuple(sorted(lines, key=lambda line: (-line.count, line.code)))
