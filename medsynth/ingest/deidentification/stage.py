"""The stage deidentified/: DICOM in, DICOM out, every name in it and of it keyed."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from medsynth.core.digest import file_digest
from medsynth.core.errors import UnreadableScan, UsageProblem
from medsynth.core.keys import Keys
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.ingest.deidentification.admission import check_admitted, is_left_out, read_dataset
from medsynth.ingest.deidentification.dataset import deidentify_dataset
from medsynth.ingest.deidentification.options import DeidentifyConfig
from medsynth.ingest.hush import hushed
from medsynth.ingest.names import image_path_of
from medsynth.ingest.quarantine import Quarantine
from medsynth.ingest.source import InputFile, form_of, source_digest, walk

STAGE = "deidentified"
FILES = "dicom"
SUMMARY = "summary.json"
_DEFAULTS = DeidentifyConfig()


def deidentify(
    source: Path,
    out: Path,
    keys: Keys,
    config: DeidentifyConfig = _DEFAULTS,
    *,
    progress: Progress = silent,
) -> Artifact:
    """The stage OUT/deidentified of every DICOM image below `source`; the rest is quarantined."""
    if not source.is_dir():
        raise UsageProblem("the source must be a folder of scans; there is no such folder")
    files = walk(source, leave_out=out)
    request = Request(
        stage=STAGE,
        parents={"source": source_digest(files, keys)},
        config=config.model_dump(mode="json"),
        code=code_digest("medsynth.ingest"),
        key_fingerprint=keys.fingerprint,
    )
    return produce(out, request, _Work(keys, config, files, progress).build)


@dataclass(frozen=True)
class _Work:
    """All that one run needs, and what it counts."""

    keys: Keys
    config: DeidentifyConfig
    files: Sequence[InputFile]
    progress: Progress
    tally: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def build(self, folder: Path) -> None:
        """Fill the stage folder; what a killed run left there is written anew."""
        shutil.rmtree(folder / FILES, ignore_errors=True)
        (folder / FILES).mkdir()
        quarantine = Quarantine(self.keys)
        with hushed():
            for number, file in enumerate(self.files):
                with quarantine.guard(file.name, "deidentify", otherwise="bad_element"):
                    self._rewrite(file, folder)
                self.progress(number + 1, len(self.files))
        quarantine.write(folder)
        summary = self._summary(folder, quarantine)
        (folder / SUMMARY).write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")

    def _rewrite(self, file: InputFile, folder: Path) -> None:
        if form_of(file) != "dicom":
            raise UnreadableScan("not_an_image")
        dataset = read_dataset(file, self.config.max_bytes)
        check_admitted(dataset, self.config)
        if is_left_out(dataset, self.config):
            self.left_out["localizer"] += 1
            return
        tally: Counter[str] = Counter()
        clean = deidentify_dataset(dataset, self.keys, self.config.profile, tally)
        _save(clean, folder / FILES / image_path_of(self.keys, dataset))
        self.tally.update(tally)

    def _summary(self, folder: Path, quarantine: Quarantine) -> dict[str, object]:
        written = [path.relative_to(folder / FILES).parts for path in folder.rglob("*.dcm")]
        return {
            "num_files": len(self.files),
            "num_written": len(written),
            "num_subjects": len({parts[:1] for parts in written}),
            "num_studies": len({parts[:2] for parts in written}),
            "num_series": len({parts[:3] for parts in written}),
            "quarantined": quarantine.counts(),
            "left_out": dict(self.left_out),
            "actions": dict(sorted(self.tally.items())),
            "methods": [code for code, _ in self.config.profile.codes],
        }


def _save(clean: Dataset, path: Path) -> None:
    """Write one file, whole or not at all; the same instance again is a duplicate or a conflict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    try:
        clean.save_as(fresh, enforce_file_format=True)
        if path.exists():
            is_same = file_digest(fresh) == file_digest(path)
            raise UnreadableScan("duplicate" if is_same else "duplicate_conflict")
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)
