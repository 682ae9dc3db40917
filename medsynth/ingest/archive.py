"""Ingest: a folder of scans becomes a stage folder of de-identified volumes.

Every input ends in one of three states: right, right with flags, or refused with a reason code;
a wrong volume without a flag is the one thing that must never happen.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medsynth.core.digest import file_digest
from medsynth.core.errors import UsageProblem
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.ingest.attributes import Facts
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.deidentify import hushed
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.reading import Context, Reading
from medsynth.ingest.readings import Reader, listed_files
from medsynth.ingest.schema import (
    Field,
    attributes_of,
    count_flags,
    declared_fields,
    schema_of,
    shown_fields,
)
from medsynth.ingest.source import InputFile, source_digest, walk
from medsynth.ingest.table import Table, find_table, read_table

STAGE = "manifest"
SUMMARY = "summary.json"
_DEFAULTS = IngestConfig()


def ingest(
    source: Path,
    out: Path,
    keys: Keys,
    config: IngestConfig = _DEFAULTS,
    *,
    table: Path | None = None,
    progress: Progress = silent,
) -> Artifact:
    """The manifest stage OUT/manifest of everything readable below `source`.

    `table` defaults to the metadata.csv, clinical.csv or participants.tsv that lies in `source`.
    """
    if not source.is_dir():
        raise UsageProblem("the source must be a folder of scans; there is no such folder")
    where = table or find_table(source)
    clinical = read_table(where, join=config.join, subject=config.subject) if where else None
    files = walk(source, leave_out=out)
    parents = {"source": source_digest(files, keys)}
    if where:
        parents["attributes"] = file_digest(where)
    request = Request(
        stage=STAGE,
        parents=parents,
        config=config.model_dump(mode="json"),
        code=code_digest("medsynth.ingest"),
        key_fingerprint=keys.fingerprint,
    )
    work = _Work(keys, config, clinical, [f for f in files if f.path != where], progress)
    return produce(out, request, work.build)


@dataclass(frozen=True)
class _Work:
    """All that one ingest needs."""

    keys: Keys
    config: IngestConfig
    table: Table | None
    files: Sequence[InputFile]
    progress: Progress

    def build(self, folder: Path) -> None:
        """Fill the stage folder; what a killed run left there is written anew."""
        shutil.rmtree(folder / "volumes", ignore_errors=True)
        (folder / "volumes").mkdir()
        quarantine = Quarantine(self.keys)
        with hushed():
            context = Context(self.keys, self.config, self.table)
            reader = Reader(context, quarantine, self.progress)
            read = _store_all(folder, reader, self._wanted(quarantine))
        columns = self.table.columns if self.table else ()
        facts = [facts for _, facts in read]
        declared = self.config.attributes
        fields = declared_fields(declared, columns, facts) if declared else None
        manifest = _manifest(read, shown_fields(columns, facts) if fields is None else fields)
        manifest.write(folder)
        quarantine.write(folder)
        summary = _summary(manifest, quarantine, len(self.files), reader.left_out)
        (folder / SUMMARY).write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")

    def _wanted(self, quarantine: Quarantine) -> Sequence[InputFile]:
        if self.table is not None and self.table.names_images:
            return listed_files(self.files, self.table, quarantine)
        return self.files


def _store_all(
    folder: Path, reader: Reader, files: Sequence[InputFile]
) -> list[tuple[Scan, Facts]]:
    """Store every reading once; the same voxels of the same subject again are a duplicate."""
    read: list[tuple[Scan, Facts]] = []
    ids: set[str] = set()
    seen: set[tuple[str, str]] = set()
    for reading in reader.readings(files):
        if reading.scan_id in ids:
            reader.quarantine.add(reading.name, "store", "duplicate_conflict", reading.num_files)
            continue
        with reader.quarantine.guard(
            reading.name, "store", otherwise="store_failed", count=reading.num_files
        ):
            scan = _store(folder, reading)
            ids.add(scan.scan_id)
            if (scan.subject_id, scan.digest) in seen:
                (folder / scan.path).unlink()
                reader.quarantine.add(reading.name, "store", "duplicate", reading.num_files)
                continue
            seen.add((scan.subject_id, scan.digest))
            read.append((scan, reading.facts))
    return read


def _store(folder: Path, reading: Reading) -> Scan:
    return store_scan(
        folder,
        reading.volume,
        scan_id=reading.scan_id,
        subject_id=reading.subject_id,
        modality=reading.modality,
        attributes={},
        flags=reading.flags,
        provenance=reading.provenance,
    )


def _manifest(read: Sequence[tuple[Scan, Facts]], fields: Sequence[Field]) -> Manifest:
    scans = []
    for scan, facts in read:
        attributes, flags = attributes_of(fields, facts)
        scans.append(replace(scan, attributes=attributes, flags=(*scan.flags, *flags)))
    return Manifest(tuple(scans), schema_of(fields))


def _summary(
    manifest: Manifest, quarantine: Quarantine, num_files: int, left_out: dict[str, int]
) -> dict[str, object]:
    flags = count_flags([scan.flags for scan in manifest])
    return {
        "num_files": num_files,
        "num_volumes": len(manifest),
        "num_subjects": len(manifest.subjects),
        "quarantined": quarantine.counts(),
        "left_out": dict(sorted(left_out.items())),
        "flags": flags,
        "modalities": dict(sorted(Counter(scan.modality for scan in manifest).items())),
        "attributes": {
            name: {
                "missing": sum(scan.attributes.get(name) is None for scan in manifest),
                "refused": flags.get(f"attribute_refused:{name}", 0),
                "ambiguous": flags.get(f"attribute_ambiguous:{name}", 0),
            }
            for name in manifest.schema.names
        },
    }
