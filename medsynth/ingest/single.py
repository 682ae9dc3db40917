"""Readings of single files: NIfTI volumes and plain pictures, whose facts lie beside them."""

import re
from collections.abc import Callable, Mapping, Sequence

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Volume
from medsynth.ingest.attributes import Facts
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.deidentify import scan_id_of, subject_id_of
from medsynth.ingest.nifti import read_nifti, read_picture
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.reading import Context, Reading
from medsynth.ingest.source import Form, InputFile
from medsynth.ingest.table import SUBJECT_COLUMNS, Row

Volumes = Callable[[InputFile, IngestConfig], tuple[Volume, tuple[str, ...]]]
_BIDS_SUBJECT = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)")
_BIDS_DERIVED = ("derivatives", "sourcedata", "code", "phenotype")
_READERS: dict[Form, Volumes] = {"nifti": read_nifti, "picture": read_picture}


def unwanted_file(file: InputFile, context: Context) -> str:
    """Why a file is left out, which is no error; empty where it is wanted."""
    return "derived" if file.name.split("/")[0] in _BIDS_DERIVED else ""


def read_single(
    file: InputFile, form: Form, context: Context, quarantine: Quarantine
) -> list[Reading]:
    """The volumes of one file; what cannot be read is quarantined."""
    with quarantine.guard(file.name, "decode", otherwise="decode_failed"):
        volume, flags = _READERS[form](file, context.config)
        rows = context.table.rows_of(_keys(file, context)) if context.table else []
        reading = Reading(
            name=file.name,
            scan_id=scan_id_of(context.keys, "file", file.name),
            subject_id=subject_id_of(context.keys, _owner(file, rows, context)),
            modality=context.config.modality,
            volume=volume,
            facts=Facts(rows=rows),
            flags=flags,
        )
        return [reading]
    return []


def _keys(file: InputFile, context: Context) -> Mapping[str, str]:
    subject = dict.fromkeys(SUBJECT_COLUMNS, subject_in(file.name))
    return {**subject, "image": context.image_name(file)}


def _owner(file: InputFile, rows: Sequence[Row], context: Context) -> str:
    """Whom a file shows: the table's word, else a BIDS name's, else nobody but itself."""
    subjects = context.table.subjects_of(rows) if context.table else set()
    if len(subjects) > 1:
        raise UnreadableScan("ambiguous_subject")
    return next(iter(subjects), "") or subject_in(file.name) or f"file:{file.name}"


def subject_in(name: str) -> str:
    """The subject in a file's name as BIDS writes it ("sub-01"); empty where there is none."""
    match = _BIDS_SUBJECT.search(name)
    return match[1] if match else ""
