"""The clinical table: rows by key, subjects by column; its other columns stay unread."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Literal

from medsynth.core.errors import UsageProblem
from medsynth.ingest.source import is_plain

NAMES = ("metadata.csv", "clinical.csv", "participants.tsv")
SUBJECT_COLUMNS = ("patient_id", "subject_id", "participant_id", "PatientID")
JOIN_COLUMNS = (
    "PatientID",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "subject_id",
    "patient_id",
    "participant_id",
    "image",
)
Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Rows of text by column; `folder` is where the paths of its `image` column begin."""

    folder: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    join: tuple[str, ...]
    subject_column: str

    @property
    def names_images(self) -> bool:
        """Whether the table says which files are scans."""
        return "image" in self.columns

    @cached_property
    def _by_key(self) -> dict[tuple[str, ...], list[Row]]:
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            found.setdefault(tuple(row[name].strip() for name in self.join), []).append(row)
        return found

    def rows_of(self, keys: Mapping[str, str]) -> list[Row]:
        """Rows whose join columns equal these keys; none where a key is empty or unknown."""
        wanted = tuple(keys.get(name, "") for name in self.join)
        return self._by_key.get(wanted, []) if wanted and all(wanted) else []

    def subjects_of(self, rows: Sequence[Row]) -> set[str]:
        """The subjects that rows name."""
        return {row[self.subject_column].strip() for row in rows} if self.subject_column else set()

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """Where the scans that the table names should lie, in order, each once."""
        paths = (self.folder / row["image"].strip() for row in self.rows if row["image"].strip())
        return tuple(dict.fromkeys(paths))

    @cached_property
    def _files(self) -> dict[str, frozenset[Path]]:
        return {}

    def files_in(self, column: str) -> frozenset[Path]:
        """Where the files that a column names should lie; none for what is no column."""
        if column not in self._files:
            cells = {row.get(column, "").strip() for row in self.rows}
            self._files[column] = frozenset(self.folder / cell for cell in cells if cell)
        return self._files[column]


def find_table(source: Path) -> Path | None:
    """The table that lies in the source, if any; links are not followed."""
    return next((source / name for name in NAMES if is_plain(source / name)), None)


def read_table(path: Path, *, join: Sequence[str], subject: str) -> Table:
    """Read CSV or, by suffix, TSV; `join` and `subject` empty: the known columns that it has."""
    if not path.is_file():
        raise UsageProblem("the table must be a CSV or TSV file; no such file was found")
    columns, *cells = _lines(path) or [[]]
    columns = [name.strip() for name in columns]
    if len(set(columns)) != len(columns) or not columns:
        raise UsageProblem("the table must begin with a line of distinct column names")
    if any(len(line) != len(columns) for line in cells):
        raise UsageProblem("every line of the table must have as many cells as its first line")
    missing = [name for name in (*join, *([subject] if subject else [])) if name not in columns]
    if missing:
        raise UsageProblem(f"the table has no column {', '.join(missing)}")
    rows = tuple(dict(zip(columns, line, strict=True)) for line in cells)
    return Table(
        path.parent, tuple(columns), rows, _join(columns, join), subject or _subject(columns)
    )


def _lines(path: Path) -> list[list[str]]:
    try:
        return [
            line
            for line in csv.reader(
                StringIO(_text(path)), delimiter=_delimiter(path), quoting=_quoting(path)
            )
            if line
        ]
    except csv.Error:
        raise UsageProblem("the table must be a CSV or TSV file; this one cannot be read") from None


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _quoting(path: Path) -> Literal[0, 3]:
    """TSV, as BIDS has it, knows no quotes."""
    return csv.QUOTE_NONE if path.suffix.lower() == ".tsv" else csv.QUOTE_MINIMAL


def _join(columns: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """What says which scan a row is about: its file, else DICOM's keys, else the subject."""
    if wanted:
        return tuple(wanted)
    if "image" in columns:
        return ("image",)
    keys = tuple(name for name in JOIN_COLUMNS[:5] if name in columns)
    return keys or tuple(name for name in SUBJECT_COLUMNS if name in columns)[:1]


def _subject(columns: Sequence[str]) -> str:
    return next((name for name in SUBJECT_COLUMNS if name in columns), "")
