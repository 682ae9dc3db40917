"""Readings of single files: NIfTI volumes and plain pictures, whose facts lie beside them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medsynth.core.errors import UnreadableScan
from medsynth.core.geometry import Volume
from medsynth.core.manifest import Provenance
from medsynth.ingest.facts.attributes import Facts
from medsynth.ingest.facts.table import SUBJECT_COLUMNS, Row
from medsynth.ingest.files.bids import DERIVED
from medsynth.ingest.files.gradients import Encoding, read_gradients
from medsynth.ingest.files.masks import found_masks, is_mask, measured_masks
from medsynth.ingest.files.nifti import NiftiVolume, read_header, read_volumes
from medsynth.ingest.files.nifti_header import NiftiHeader
from medsynth.ingest.files.picture import read_picture
from medsynth.ingest.names import scan_id_of, subject_id_of
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.reading import Context, Reading
from medsynth.ingest.source import Form, InputFile, is_plain

_BIDS_SUBJECT = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)")
_PHYSICS = (
    "MagneticFieldStrength",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "SliceThickness",
    "KVP",
)


def outside_layout(file: InputFile, context: Context) -> str:
    """Why a file of a BIDS dataset is no image of its own, by name alone; empty elsewhere."""
    return context.layout.unwanted(file) if context.layout is not None else ""


def unwanted_file(file: InputFile, context: Context) -> str:
    """Why an image is left out, which is no error; empty where it is wanted."""
    if file.name.split("/")[0] in DERIVED:
        return "derived"
    if is_mask(file, context.config, context.table):
        return "mask"
    return "" if re.search(context.config.files, file.name) else "file_pattern"


def read_single(
    file: InputFile, form: Form, context: Context, quarantine: Quarantine
) -> Iterator[Reading]:
    """The volumes of one file, one in memory at a time; what cannot be read is quarantined."""
    with quarantine.guard(file.name, "decode", otherwise="decode_failed"):
        facts, owner = _facts_and_owner(file, context)
        if form == "picture":
            volume, flags = read_picture(file, context.config)
            yield _reading(file, context, facts, owner, volume, flags)
            return
        header = read_header(file, context.config)
        physics = _physics(file, header, facts, context)
        for one in read_volumes(file, header, context.config):
            acquisition = physics[one.index] | _own(one, header.num_volumes)
            yield _reading(file, context, facts, owner, one.volume, one.flags, one, acquisition)


def _reading(
    file: InputFile,
    context: Context,
    facts: Facts,
    owner: str,
    volume: Volume,
    flags: tuple[str, ...],
    one: NiftiVolume | None = None,
    acquisition: Mapping[str, Any] | None = None,
) -> Reading:
    layout, modality = context.layout, context.config.modality
    if layout is not None:
        flags += layout.flags(file)
        modality = layout.modality(file) or modality if modality == "OT" else modality
    image = f"{file.name}#{one.index}" if one is not None and one.index else file.name
    return Reading(
        files=(file.name,),
        scan_id=scan_id_of(context.keys, "file", image),
        subject_id=subject_id_of(context.keys, owner),
        modality=modality,
        volume=volume,
        facts=facts,
        flags=flags,
        provenance=Provenance(acquisition=acquisition or {}),
    )


def _own(one: NiftiVolume, count: int) -> dict[str, Any]:
    """What tells one volume of a file from its others, and how many voxels were replaced."""
    own: dict[str, Any] = {"TemporalPositionIndex": float(one.index + 1)} if count > 1 else {}
    return own | ({"NumNonfiniteVoxels": float(one.num_nonfinite)} if one.num_nonfinite else {})


def _physics(
    file: InputFile, header: NiftiHeader, facts: Facts, context: Context
) -> list[dict[str, Any]]:
    """Acquisition of each volume of a file: its sidecar's numbers, its b-value and direction."""
    common: dict[str, Any] = {}
    for name in _PHYSICS:
        values = {tags.get(name, "") for tags in facts.tags}
        if len(values) == 1 and (number := _number(values.pop())) is not None:
            common[name] = number
    encodings = _encodings(file, header, context)
    return [common | encoding for encoding in encodings]


def _encodings(file: InputFile, header: NiftiHeader, context: Context) -> Sequence[Encoding]:
    """Diffusion weighting of each volume, empty where no text beside the file says it."""
    bval, bvec = (_beside(file, context, extension) for extension in (".bval", ".bvec"))
    if bval is None:
        return [{} for _ in range(header.num_volumes)]
    return read_gradients(bval, bvec, header.affine, header.num_volumes)


def _beside(file: InputFile, context: Context, extension: str) -> Any:
    if context.layout is not None:
        return context.layout.companion(file, extension)
    stem = re.sub(r"\.nii(\.gz)?$", "", file.path.name)
    path = file.path.with_name(f"{stem}{extension}")
    return path if is_plain(path) else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _facts_and_owner(file: InputFile, context: Context) -> tuple[Facts, str]:
    """What is known of a file from the table and the dataset around it, and whom it shows."""
    table, layout = context.table, context.layout
    rows = list(table.rows_of(_keys(file, context))) if table else []
    owner = _owner(file, rows, context)
    names = {"subject": subject_in(file.name), "session": ""}
    if layout is None:
        measured = measured_masks(file, context.config, table, rows, names)
        masks = found_masks(file, context.config, table, rows, names)
        return Facts(rows=rows, measured=measured, mask_files=masks), owner
    names = {"subject": layout.subject(file), "session": layout.session(file)}
    rows = [row for row in rows if not layout.is_participant(row)] + layout.rows(file)
    measured = measured_masks(file, context.config, table, rows, names)
    masks = found_masks(file, context.config, table, rows, names)
    facts = Facts(layout.facts(file), rows, measured=measured, units=layout.units, mask_files=masks)
    return facts, owner


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
