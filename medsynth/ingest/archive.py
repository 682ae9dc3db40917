"""Ingest: a folder of scans becomes a stage folder of de-identified volumes.

Every input ends in one of three states: right, right with flags, or refused with a reason code;
a wrong volume without a flag is the one thing that must never happen.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsynth.core.digest import file_digest
from medsynth.core.errors import UsageProblem
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, Scan
from medsynth.core.masks import FOLDER as MASKS
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.ingest.collect import Collection
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.facts.attributes import Facts
from medsynth.ingest.facts.report import attribute_report
from medsynth.ingest.facts.schema import (
    attributes_of,
    count_flags,
    declared_fields,
    schema_of,
    shown_fields,
)
from medsynth.ingest.facts.table import Table, find_table, read_table
from medsynth.ingest.facts.texts import scrub_texts
from medsynth.ingest.files.bids import BidsLayout, read_layout
from medsynth.ingest.files.mask_images import stored_masks
from medsynth.ingest.hush import hushed
from medsynth.ingest.page.page import write_page
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.reading import Context
from medsynth.ingest.source import InputFile, source_digest, walk
from medsynth.ingest.workers import Here, Workers

STAGE = "manifest"
SUMMARY = "summary.json"
_DEFAULTS = IngestConfig()
_HERE = Here()


def ingest(
    source: Path,
    out: Path,
    keys: Keys,
    config: IngestConfig = _DEFAULTS,
    *,
    table: Path | None = None,
    workers: Workers = _HERE,
    progress: Progress = silent,
) -> Artifact:
    """The manifest stage OUT/manifest of everything readable below `source`.

    `table` defaults to the metadata.csv, clinical.csv or participants.tsv that lies in `source`.
    `workers` read in this process or elsewhere; they must see the same folders, and whoever they
    are, the stage is the same.
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
    rest = [file for file in files if file.path != where]
    layout = read_layout(source, files)
    work = _Work(keys, config, clinical, layout, rest, workers, progress)
    return produce(out, request, work.build)


@dataclass(frozen=True)
class _Work:
    """All that one ingest needs."""

    keys: Keys
    config: IngestConfig
    table: Table | None
    layout: BidsLayout | None
    files: Sequence[InputFile]
    workers: Workers
    progress: Progress

    def build(self, folder: Path) -> Mapping[str, str]:
        """Fill the stage folder; returns the digests of the volumes' files."""
        # Workers may be on other machines: they get the secret that names, not the others.
        naming = replace(self.keys, signing=bytes(32), vault=bytes(32))
        context = Context(naming, self.config, self.table, self.layout)
        collection = Collection(context, self.workers, self.progress, Quarantine(naming))
        with hushed():
            collection.collect(self._listed(collection), folder)
        shutil.rmtree(folder / MASKS, ignore_errors=True)
        read = [
            (scan, stored_masks(folder, scan, facts, self.config))
            for scan, facts in collection.scans.values()
        ]
        manifest, attributes = _manifest(read, self.config, self.table)
        manifest.write(folder)
        collection.quarantine.write(folder)
        summary = _summary(manifest, collection, len(self.files))
        summary["attributes"] = attributes
        (folder / SUMMARY).write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")
        write_page(folder)
        return collection.digests

    def _listed(self, collection: Collection) -> Sequence[InputFile]:
        """The files that the table names where it names files, else all."""
        if self.table is None or not self.table.names_images:
            return self.files
        by_path = {file.path: file for file in self.files}
        listed = [path for path in self.table.images if path in by_path]
        for path in self.table.images:
            if path not in by_path:
                collection.quarantine.add(path.as_posix(), "index", "missing_file")
        if len(listed) < len(self.files):
            collection.left_out["not_listed"] = len(self.files) - len(listed)
        return [by_path[path] for path in listed]


def _manifest(
    read: Sequence[tuple[Scan, Facts]], config: IngestConfig, table: Table | None
) -> tuple[Manifest, dict[str, dict[str, Any]]]:
    """The manifest, and how each attribute came about."""
    columns, known = table.columns if table else (), [facts for _, facts in read]
    if config.attributes:
        fields = declared_fields(config.attributes, columns, known)
    else:
        fields = shown_fields(columns, known)
    scans = []
    for scan, facts in read:
        attributes, flags = attributes_of(fields, facts)
        scans.append(replace(scan, attributes=attributes, flags=(*scan.flags, *flags)))
    identifying = frozenset[str]().union(*(facts.identifying for facts in known))
    clean = scrub_texts(scans, config, identifying)
    return Manifest(tuple(clean), schema_of(fields)), attribute_report(fields, known)


def _summary(manifest: Manifest, collection: Collection, num_files: int) -> dict[str, object]:
    flags = count_flags([scan.flags for scan in manifest])
    return {
        "num_files": num_files,
        "num_read": len(collection.read),
        "num_read_in_part": collection.quarantine.count_among(collection.read),
        "num_volumes": len(manifest),
        "num_subjects": len(manifest.subjects),
        "num_flagged": sum(bool(scan.flags) for scan in manifest),
        "quarantined": collection.quarantine.counts(),
        "left_out": dict(sorted(collection.left_out.items())),
        "flags": flags,
        "modalities": dict(sorted(Counter(scan.modality for scan in manifest).items())),
    }
