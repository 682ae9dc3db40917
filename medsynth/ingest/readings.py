"""From input files to readings: one volume each, with whose it is and what is known of it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Volume
from medsynth.core.keys import Keys
from medsynth.core.stage import Progress
from medsynth.ingest.attributes import Facts
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.decode import Plane, decode_plane
from medsynth.ingest.deidentify import keyed_planes, scan_id_of, subject_id_of
from medsynth.ingest.index import Header, read_header
from medsynth.ingest.nifti import read_nifti, read_picture
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.source import Form, InputFile, form_of
from medsynth.ingest.stack import Stack, group_headers, stack_planes
from medsynth.ingest.table import SUBJECT_COLUMNS, Row, Table

Volumes = Callable[[InputFile, IngestConfig], tuple[Volume, tuple[str, ...]]]
_BIDS_SUBJECT = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)")
_BIDS_DERIVED = ("derivatives", "sourcedata", "code", "phenotype")
_READERS: dict[Form, Volumes] = {"nifti": read_nifti, "picture": read_picture}


@dataclass(frozen=True, eq=False)
class Reading:
    """One volume, our names for it and its subject, and the raw facts about it."""

    name: str
    scan_id: str
    subject_id: str
    modality: str
    volume: Volume
    facts: Facts
    flags: tuple[str, ...]
    plane_sources: tuple[str, ...] = ()
    num_files: int = 1


@dataclass(frozen=True)
class Reader:
    """Reads input files under one configuration; what cannot be read goes to quarantine."""

    keys: Keys
    config: IngestConfig
    table: Table | None
    quarantine: Quarantine
    progress: Progress
    left_out: dict[str, int] = field(default_factory=dict)

    def readings(self, files: Sequence[InputFile]) -> Iterator[Reading]:
        """One volume after the other; only one is in memory at a time."""
        headers: list[Header] = []
        others: list[tuple[InputFile, Form]] = []
        total = 2 * len(files)
        for number, file in enumerate(files):
            with self.quarantine.guard(file.name, "index", otherwise="bad_element"):
                form = form_of(file)
                if form == "dicom":
                    headers += self._selected(read_header(file, self.config))
                else:
                    others.append((file, form))
            self.progress(number + 1, total)
        done = total - len(headers) - len(others)
        for group in group_headers(headers):
            if reading := self._series(group):
                yield reading
            done += len(group)
            self.progress(done, total)
        for file, form in others:
            if reading := self._single(file, form):
                yield reading
            done += 1
            self.progress(done, total)

    def _selected(self, header: Header) -> list[Header]:
        """The header, unless the configuration leaves its kind of series out."""
        if reason := _unwanted(header, self.config):
            self.left_out[reason] = self.left_out.get(reason, 0) + 1
            return []
        return [header]

    def _series(self, group: Sequence[Header]) -> Reading | None:
        planes = list(self._planes(group))
        if not planes:
            return None
        name, lost = group[0].keys["SeriesInstanceUID"], len(group) - len(planes)
        with self.quarantine.guard(name, "stack", otherwise="decode_failed", count=len(planes)):
            return self._stacked(stack_planes(planes), lost)
        return None

    def _planes(self, group: Sequence[Header]) -> Iterator[Plane]:
        rows, columns = group[0].shape
        if len(group) * rows * columns * 4 > self.config.max_volume_bytes:
            uid = group[0].keys["SeriesInstanceUID"]
            self.quarantine.add(uid, "stack", "too_large", len(group))
            return
        for header in group:
            with self.quarantine.guard(header.file.name, "decode", otherwise="decode_failed"):
                yield decode_plane(header, self.config.max_bytes)

    def _stacked(self, stack: Stack, lost: int) -> Reading:
        for header in stack.dropped:
            self.quarantine.add(header.file.name, "stack", "duplicate")
        first, uids = stack.used[0], [h.keys["SOPInstanceUID"] for h in stack.used]
        return Reading(
            name=first.file.name,
            scan_id=scan_id_of(self.keys, first.keys["SeriesInstanceUID"], min(uids)),
            subject_id=subject_id_of(self.keys, first.keys["PatientID"]),
            modality=first.modality,
            volume=stack.volume,
            facts=self._facts(stack.used),
            flags=stack.flags + (("files_quarantined",) if lost else ()),
            plane_sources=keyed_planes(self.keys, uids),
            num_files=len(stack.used),
        )

    def _facts(self, headers: Sequence[Header]) -> Facts:
        identifying = frozenset[str]().union(*(header.identifying for header in headers))
        return Facts([header.tags for header in headers], self._rows(headers), identifying)

    def _rows(self, headers: Sequence[Header]) -> list[Row]:
        """The table's rows about these images, each once."""
        if self.table is None:
            return []
        found = [row for h in headers for row in self.table.rows_of(self._join_keys(h))]
        return list({id(row): row for row in found}.values())

    def _join_keys(self, header: Header) -> Mapping[str, str]:
        patient = header.keys["PatientID"]
        subject = dict.fromkeys(("subject_id", "patient_id", "participant_id"), patient)
        return {**subject, **header.keys, "image": self._image(header.file)}

    def _image(self, file: InputFile) -> str:
        """The file as the table's `image` column spells it."""
        if self.table is None or not file.path.is_relative_to(self.table.folder):
            return ""
        return file.path.relative_to(self.table.folder).as_posix()

    def _single(self, file: InputFile, form: Form) -> Reading | None:
        with self.quarantine.guard(file.name, "decode", otherwise="decode_failed"):
            if self._is_left_out(file):
                return None
            volume, flags = _READERS[form](file, self.config)
            rows = self.table.rows_of(self._file_keys(file)) if self.table else []
            return Reading(
                name=file.name,
                scan_id=scan_id_of(self.keys, "file", file.name),
                subject_id=subject_id_of(self.keys, self._owner(file, rows)),
                modality=self.config.modality,
                volume=volume,
                facts=Facts(rows=rows),
                flags=flags,
            )
        return None

    def _file_keys(self, file: InputFile) -> Mapping[str, str]:
        subject = dict.fromkeys(SUBJECT_COLUMNS, subject_in(file.name))
        return {**subject, "image": self._image(file)}

    def _owner(self, file: InputFile, rows: Sequence[Row]) -> str:
        """Whom a file shows: the table's word, else a BIDS name's, else nobody but itself."""
        subjects = self.table.subjects_of(rows) if self.table else set()
        if len(subjects) > 1:
            raise UnreadableScan("ambiguous_subject")
        return next(iter(subjects), "") or subject_in(file.name) or f"file:{file.name}"

    def _is_left_out(self, file: InputFile) -> bool:
        if not is_derived(file.name):
            return False
        self.left_out["derived"] = self.left_out.get("derived", 0) + 1
        return True


def subject_in(name: str) -> str:
    """The subject in a file's name as BIDS writes it ("sub-01"); empty where there is none."""
    match = _BIDS_SUBJECT.search(name)
    return match[1] if match else ""


def is_derived(name: str) -> bool:
    """Whether a file lies where BIDS keeps what was computed from scans."""
    return name.split("/")[0] in _BIDS_DERIVED


def _unwanted(header: Header, config: IngestConfig) -> str:
    """Why the configuration leaves an image out; empty where it is wanted."""
    if header.is_localizer and not config.localizers:
        return "localizer"
    if min(header.shape) < config.min_matrix:
        return "small_matrix"
    if not re.search(config.series_description, header.description, re.IGNORECASE):
        return "series_description"
    return ""


def listed_files(
    files: Sequence[InputFile], table: Table, quarantine: Quarantine
) -> list[InputFile]:
    """The files that the table names; a name without a file below the source is quarantined."""
    by_path = {file.path: file for file in files}
    for path in table.images:
        if path not in by_path:
            quarantine.add(path.as_posix(), "index", "missing_file")
    return [by_path[path] for path in table.images if path in by_path]
