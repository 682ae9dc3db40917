"""Readings of DICOM: the planes of one volume, decoded and stacked, with what is known of them."""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from medsynth.core.errors import UnreadableScan
from medsynth.core.manifest import Provenance
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.dicom.decode import decode_frames
from medsynth.ingest.dicom.frame import Frame
from medsynth.ingest.dicom.stack import Stack, in_order, stack_planes
from medsynth.ingest.facts.attributes import Facts
from medsynth.ingest.facts.table import Row
from medsynth.ingest.files.masks import found_masks, measured_masks
from medsynth.ingest.names import keyed_planes, scan_id_of, subject_id_of
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.reading import Context, Reading, files_of


def unwanted(frame: Frame, config: IngestConfig) -> str:
    """Why the configuration leaves a plane out; empty where it is wanted."""
    if frame.is_localizer and not config.localizers:
        return "localizer"
    if min(frame.shape) < config.min_matrix:
        return "small_matrix"
    if not re.search(config.series_description, frame.description, re.IGNORECASE):
        return "series_description"
    return ""


def read_series(group: Sequence[Frame], context: Context, quarantine: Quarantine) -> Reading | None:
    """The volume of one group of planes; what cannot be decoded or stacked is quarantined."""
    with quarantine.guard(files_of(group), "decode", otherwise="decode_failed"):
        rows, columns = group[0].shape
        if len(group) * rows * columns * 4 > context.config.max_volume_bytes:
            raise UnreadableScan("too_large")
        return _read(group, context, quarantine)
    return None


def _read(group: Sequence[Frame], context: Context, quarantine: Quarantine) -> Reading | None:
    def guard(frame: Frame) -> AbstractContextManager[None]:
        return quarantine.guard(frame.file.name, "decode", otherwise="decode_failed")

    planes = decode_frames(in_order(group), context.config, guard)
    if not planes:
        return None
    decoded = files_of([plane.frame for plane in planes])
    with quarantine.guard(decoded, "stack", otherwise="decode_failed"):
        stack = stack_planes(planes)
        used = set(files_of(stack.used))
        quarantine.add([f for f in files_of(stack.dropped) if f not in used], "stack", "duplicate")
        return _reading(stack, context, lost=len(group) - len(planes))
    return None


def _reading(stack: Stack, context: Context, lost: int) -> Reading:
    first = stack.used[0]
    uids = [[frame.keys["SOPInstanceUID"] for frame in plane] for plane in stack.planes]
    return Reading(
        files=files_of(stack.used),
        scan_id=scan_id_of(context.keys, first.keys["SeriesInstanceUID"], _image_name(stack.used)),
        subject_id=subject_id_of(context.keys, first.keys["PatientID"]),
        modality=first.modality,
        volume=stack.volume,
        facts=_facts(stack.used, context),
        flags=stack.flags + (("files_quarantined",) if lost else ()),
        provenance=Provenance(
            keyed_planes(context.keys, uids), stack.plane_axis, stack.observed, stack.acquisition
        ),
    )


def _image_name(frames: Sequence[Frame]) -> str:
    """The first image of a volume; volumes of one multi-frame file have names of their own."""
    instance, index, number = min((f.instance, f.index, f.number) for f in frames)
    return "#".join((instance, number, str(index)))


def _facts(frames: Sequence[Frame], context: Context) -> Facts:
    identifying = frozenset[str]().union(*(frame.identifying for frame in frames))
    rows = _rows(frames, context)
    where = frames[0].file, context.config, context.table, rows
    return Facts(
        [frame.tags for frame in frames],
        rows,
        identifying,
        measured_masks(*where, {}),
        mask_files=found_masks(*where, {}),
    )


def _rows(frames: Sequence[Frame], context: Context) -> list[Row]:
    """The table's rows about these images, each once."""
    if context.table is None:
        return []
    found = [row for f in frames for row in context.table.rows_of(_join_keys(f, context))]
    return list({id(row): row for row in found}.values())


def _join_keys(frame: Frame, context: Context) -> Mapping[str, str]:
    patient = frame.keys["PatientID"]
    subject = dict.fromkeys(("subject_id", "patient_id", "participant_id"), patient)
    return {**subject, **frame.keys, "image": context.image_name(frame.file)}
