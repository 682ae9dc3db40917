"""A BIDS dataset: whose each image is, and what its sidecars and tables say of it.

The index is built from the files already listed; no image is opened. Names of subjects stay
inside, listed sidecar keys alone are read, and columns count only where an attribute declares
them. Source: BIDS 1.11.2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from medsynth.core.errors import UnreadableScan, UsageProblem
from medsynth.ingest.facts.table import Row, read_table
from medsynth.ingest.files.bids_names import (
    BidsName,
    ignored_by,
    known_values,
    parse_name,
    read_json,
)
from medsynth.ingest.source import InputFile, is_plain

DESCRIPTION, PARTICIPANTS = "dataset_description.json", "participants.tsv"
DERIVED = ("derivatives", "sourcedata", "code", "phenotype", "stimuli", "models")
_IMAGES = (".nii", ".nii.gz")
_BESIDE = (".json", ".bval", ".bvec")
_NO_IMAGES = (*_BESIDE, ".tsv", ".tsv.gz", ".md", ".rst", ".txt", ".cff", ".html")
_TEXTS = ("README", "CHANGES", "LICENSE", ".bidsignore")
_MASKS = ("mask", "defacemask", "dseg", "probseg")
_MODALITIES = {"anat": "MR", "func": "MR", "dwi": "MR", "fmap": "MR", "perf": "MR", "pet": "PT"}
_MODALITIES |= {"swi": "MR", "mrs": "MR"}


@dataclass(frozen=True)
class Beside:
    """A file that describes images: its name, where it is, and a sidecar's listed values."""

    name: BidsName
    path: Path
    values: Mapping[str, str]
    is_readable: bool = True


@dataclass(frozen=True)
class BidsLayout:
    """The index of one dataset; it can be pickled."""

    names: Mapping[str, BidsName]
    left_out: Mapping[str, str]
    beside: Mapping[tuple[str, str], tuple[Beside, ...]]
    participants: tuple[Row, ...] = ()
    sessions: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    measured: tuple[Row, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()

    def unwanted(self, file: InputFile) -> str:
        """Why a file is no image of the dataset's own; empty where it is one."""
        return self.left_out.get(file.name, "" if file.name in self.names else "not_bids")

    def subject(self, file: InputFile) -> str:
        """Whom a file shows ("sub-01"); raises UnreadableScan where folder and name differ."""
        name = self.names[file.name]
        if name.folders[:1] != (f"sub-{name.entities['sub']}",):
            raise UnreadableScan("ambiguous_subject")
        return name.folders[0]

    def session(self, file: InputFile) -> str:
        """The session that a file belongs to ("ses-2"); empty where there is none."""
        session = self.names[file.name].entities.get("ses", "")
        return f"ses-{session}" if session else ""

    def modality(self, file: InputFile) -> str:
        """DICOM's word for what the folder holds; empty where that is not known."""
        return _MODALITIES.get(self.names[file.name].folders[-1], "")

    def facts(self, file: InputFile) -> list[dict[str, str]]:
        """Listed sidecar values under DICOM keywords, nearer files winning over farther ones.

        Two files of equal rank that contradict each other give two, which is ambiguous.
        """
        values: dict[str, list[str]] = {"BidsSuffix": [self.names[file.name].suffix]}
        for rank in self._inherited(file, ".json"):
            new: dict[str, list[str]] = {}
            for sidecar in rank:
                for keyword, text in sidecar.values.items():
                    new.setdefault(keyword, []).append(text)
            values |= new
        count = max(len(texts) for texts in values.values())
        return [{k: texts[n % len(texts)] for k, texts in values.items()} for n in range(count)]

    def flags(self, file: InputFile) -> tuple[str, ...]:
        """What could not be read of the texts that describe a file."""
        ranks = self._inherited(file, ".json")
        is_broken = any(not one.is_readable for rank in ranks for one in rank)
        is_broken |= self.names[file.name].folders[0] in self.broken
        return ("sidecar_unreadable",) if is_broken else ()

    def companion(self, file: InputFile, extension: str) -> Path | None:
        """The nearest .bval or .bvec of an image."""
        ranks = self._inherited(file, extension)
        return ranks[-1][0].path if ranks else None

    def _inherited(self, file: InputFile, extension: str) -> list[list[Beside]]:
        """The files that describe an image, rank by rank: by folder, then by entities named."""
        name = self.names[file.name]
        found = [
            b for b in self.beside.get((name.suffix, extension), ()) if b.name.applies_to(name)
        ]
        found.sort(key=_rank)
        return [list(rank) for _, rank in groupby(found, key=_rank)]

    def rows(self, file: InputFile) -> list[Row]:
        """The rows about a file's subject and session; a session's value stands for the subject's.

        Rows of other tables are taken where they name the subject and no other session.
        """
        subject, session = self.subject(file), self.session(file)
        visits = [row for row in self.sessions.get(subject, ()) if _names(row, "ses", session)]
        found: list[Row] = []
        for person in (row for row in self.participants if _names(row, "sub", subject)):
            found += [{**person, **_known(visit)} for visit in visits] or [person]
        for row in self.measured:
            if _names(row, "sub", subject) and (
                "session_id" not in row or _names(row, "ses", session)
            ):
                found.append(row)
        return found or visits

    def is_participant(self, row: Row) -> bool:
        """Whether a table's row is one of participants.tsv."""
        return row in self.participants


def _rank(one: Beside) -> tuple[int, int]:
    return len(one.name.folders), len(one.name.entities)


def _names(row: Row, kind: str, wanted: str) -> bool:
    column = {"sub": "participant_id", "ses": "session_id"}[kind]
    given = row.get(column, "").strip()
    return bool(given) and wanted == f"{kind}-{given.removeprefix(f'{kind}-')}"


def _known(row: Row) -> Row:
    """A row without the cells that say nothing."""
    return {column: text for column, text in row.items() if text.strip().lower() not in ("", "n/a")}


def read_layout(source: Path, files: Sequence[InputFile]) -> BidsLayout | None:
    """The index of a dataset whose root is `source`; `None` where it is no BIDS dataset."""
    paths = {file.name: file.path for file in files}
    has_subjects = any(name.startswith("sub-") and "/" in name for name in paths)
    if not has_subjects or not ({DESCRIPTION, PARTICIPANTS} & set(paths) or _has_root(source)):
        return None
    ignored = ignored_by(_lines(paths.get(".bidsignore")))
    names, left_out = _images(paths, ignored)
    tables = _Tables.read(source, paths)
    return BidsLayout(
        names,
        left_out,
        _described(paths, left_out),
        tables.participants,
        tables.sessions,
        tables.measured,
        tables.units,
        tables.broken,
    )


def _has_root(source: Path) -> bool:
    """Whether the root's files lie there, though the caller took them from the list."""
    return any(is_plain(source / name) for name in (DESCRIPTION, PARTICIPANTS))


def _lines(path: Path | None) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path else []


def _images(
    paths: Mapping[str, Path], ignored: Callable[[str], bool]
) -> tuple[dict[str, BidsName], dict[str, str]]:
    """(images by path, why the others are left out)."""
    names: dict[str, BidsName] = {}
    left_out: dict[str, str] = {}
    for path in paths:
        name = parse_name(path)
        last = path.rsplit("/", 1)[-1]
        if path.split("/")[0] in DERIVED:
            left_out[path] = "derived"
        elif ignored(path):
            left_out[path] = "bidsignore"
        elif last.endswith(_NO_IMAGES) or last in _TEXTS:
            left_out[path] = "sidecar"
        elif name is None or "sub" not in name.entities or name.extension not in _IMAGES:
            left_out[path] = "not_bids"
        elif name.suffix in _MASKS:
            left_out[path] = "mask"
        else:
            names[path] = name
    return names, left_out


def _described(
    paths: Mapping[str, Path], left_out: Mapping[str, str]
) -> dict[tuple[str, str], tuple[Beside, ...]]:
    """Sidecars, b-values and directions by suffix and extension."""
    found: dict[tuple[str, str], tuple[Beside, ...]] = {}
    for path, where in paths.items():
        name = parse_name(path) if left_out.get(path) == "sidecar" else None
        if name is None or name.extension not in _BESIDE:
            continue
        content = read_json(where) if name.extension == ".json" else {}
        one = Beside(name, where, known_values(content or {}), content is not None)
        key = (name.suffix, name.extension)
        found[key] = (*found.get(key, ()), one)
    return found


@dataclass(frozen=True)
class _Tables:
    """Rows by what they are about, and the units that the tables' sidecars state."""

    participants: tuple[Row, ...]
    sessions: Mapping[str, tuple[Row, ...]]
    measured: tuple[Row, ...]
    units: Mapping[str, str]
    broken: frozenset[str]

    @classmethod
    def read(cls, source: Path, paths: Mapping[str, Path]) -> "_Tables":
        where = {PARTICIPANTS: source / PARTICIPANTS, **paths}
        units: dict[str, str] = {}
        sessions: dict[str, tuple[Row, ...]] = {}
        broken: set[str] = set()
        measured: list[Row] = []
        for path, file in sorted(where.items()):
            folder, _, last = path.rpartition("/")
            if last == f"{folder}_sessions.tsv":
                try:
                    sessions[folder] = _rows(file)
                except UsageProblem:
                    broken.add(folder)
            elif folder == "phenotype" and last.endswith(".tsv"):
                measured += _rows(file)
            if last.endswith(("participants.json", "sessions.json")) or path.startswith(
                "phenotype/"
            ):
                units |= _units(file)
        people = _rows(where[PARTICIPANTS]) if is_plain(where[PARTICIPANTS]) else ()
        return cls(people, sessions, tuple(measured), units, frozenset(broken))


def _rows(path: Path) -> tuple[Row, ...]:
    return read_table(path, join=(), subject="").rows


def _units(path: Path) -> dict[str, str]:
    """Column to unit, of the sidecar of a table."""
    columns = (read_json(path) or {}) if path.suffix == ".json" else {}
    return {
        column: about["Units"]
        for column, about in columns.items()
        if isinstance(about, dict) and isinstance(about.get("Units"), str)
    }
