"""From input files to readings: one volume each, with whose it is and what is known of it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Volume
from medsynth.core.keys import Keys
from medsynth.core.manifest import Provenance
from medsynth.core.stage import Progress
from medsynth.ingest.attributes import Facts
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.decode import Plane, decode_frames
from medsynth.ingest.deidentify import keyed_planes, scan_id_of, subject_id_of
from medsynth.ingest.index import Frame, read_frames
from medsynth.ingest.nifti import read_nifti, read_picture
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.source import Form, InputFile, form_of
from medsynth.ingest.stack import Stack, group_frames, stack_planes
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
    provenance: Provenance | None = None
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
        frames: list[Frame] = []
        others: list[tuple[InputFile, Form]] = []
        total = 2 * len(files)
        for number, file in enumerate(files):
            with self.quarantine.guard(file.name, "index", otherwise="bad_element"):
                form = form_of(file)
                if form == "dicom":
                    frames += self._selected(read_frames(file, self.config))
                else:
                    others.append((file, form))
            self.progress(number + 1, total)
        done = total - len(frames) - len(others)
        for group in group_frames(frames):
            if reading := self._series(group):
                yield reading
            done += len(group)
            self.progress(done, total)
        for file, form in others:
            if reading := self._single(file, form):
                yield reading
            done += 1
            self.progress(done, total)

    def _selected(self, frames: Sequence[Frame]) -> list[Frame]:
        """The planes of one file that the configuration does not leave out."""
        reasons = {reason for frame in frames if (reason := _unwanted(frame, self.config))}
        for reason in reasons:
            self.left_out[reason] = self.left_out.get(reason, 0) + 1
        return [frame for frame in frames if not _unwanted(frame, self.config)]

    def _series(self, group: Sequence[Frame]) -> Reading | None:
        planes = self._planes(group)
        if not planes:
            return None
        name, lost = group[0].keys["SeriesInstanceUID"], len(group) - len(planes)
        count = num_files([plane.frame for plane in planes])
        with self.quarantine.guard(name, "stack", otherwise="decode_failed", count=count):
            return self._stacked(stack_planes(planes), lost)
        return None

    def _planes(self, group: Sequence[Frame]) -> list[Plane]:
        rows, columns = group[0].shape
        if len(group) * rows * columns * 4 > self.config.max_volume_bytes:
            uid = group[0].keys["SeriesInstanceUID"]
            self.quarantine.add(uid, "stack", "too_large", num_files(group))
            return []
        return decode_frames(group, self.config, self._guard)

    def _guard(self, frame: Frame) -> AbstractContextManager[None]:
        return self.quarantine.guard(frame.file.name, "decode", otherwise="decode_failed")

    def _stacked(self, stack: Stack, lost: int) -> Reading:
        for frame in stack.dropped:
            self.quarantine.add(frame.file.name, "stack", "duplicate")
        first, uids = stack.used[0], [h.keys["SOPInstanceUID"] for h in stack.used]
        sources = [[h.keys["SOPInstanceUID"] for h in plane] for plane in stack.planes]
        return Reading(
            name=first.file.name,
            scan_id=scan_id_of(self.keys, first.keys["SeriesInstanceUID"], min(uids)),
            subject_id=subject_id_of(self.keys, first.keys["PatientID"]),
            modality=first.modality,
            volume=stack.volume,
            facts=self._facts(stack.used),
            flags=stack.flags + (("files_quarantined",) if lost else ()),
            provenance=Provenance(
                keyed_planes(self.keys, sources),
                stack.plane_axis,
                stack.observed,
                stack.acquisition,
            ),
            num_files=num_files(stack.used),
        )

    def _facts(self, frames: Sequence[Frame]) -> Facts:
        identifying = frozenset[str]().union(*(frame.identifying for frame in frames))
        return Facts([frame.tags for frame in frames], self._rows(frames), identifying)

    def _rows(self, frames: Sequence[Frame]) -> list[Row]:
        """The table's rows about these images, each once."""
        if self.table is None:
            return []
        found = [row for h in frames for row in self.table.rows_of(self._join_keys(h))]
        return list({id(row): row for row in found}.values())

    def _join_keys(self, frame: Frame) -> Mapping[str, str]:
        patient = frame.keys["PatientID"]
        subject = dict.fromkeys(("subject_id", "patient_id", "participant_id"), patient)
        return {**subject, **frame.keys, "image": self._image(frame.file)}

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


def num_files(frames: Sequence[Frame]) -> int:
    """How many files these planes come from."""
    return len({frame.file.name for frame in frames})


def subject_in(name: str) -> str:
    """The subject in a file's name as BIDS writes it ("sub-01"); empty where there is none."""
    match = _BIDS_SUBJECT.search(name)
    return match[1] if match else ""


def is_derived(name: str) -> bool:
    """Whether a file lies where BIDS keeps what was computed from scans."""
    return name.split("/")[0] in _BIDS_DERIVED


def _unwanted(frame: Frame, config: IngestConfig) -> str:
    """Why the configuration leaves an image out; empty where it is wanted."""
    if frame.is_localizer and not config.localizers:
        return "localizer"
    if min(frame.shape) < config.min_matrix:
        return "small_matrix"
    if not re.search(config.series_description, frame.description, re.IGNORECASE):
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
