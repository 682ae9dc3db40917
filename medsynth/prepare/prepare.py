"""Prepare: scans of one kind on the model's grid, split by person."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsynth.core.errors import TooFewSubjects
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, Scan, store_scan
from medsynth.core.masks import FOLDER as MASKS
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.prepare.adequacy import adequacy, people_counts
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.folds import Folds, assign_folds
from medsynth.prepare.grid import Grid
from medsynth.prepare.masks import masks_on_grid
from medsynth.prepare.scans import median_grid, of_one_kind, on_grid

STAGE = "prepared"
ADEQUACY = "adequacy.json"
ELSEWHERE = "same_person_in_another_fold"
_DEFAULTS = PrepareConfig()


def prepare(
    manifest: Artifact,
    out: Path,
    keys: Keys,
    ledger: Path,
    config: PrepareConfig = _DEFAULTS,
    *,
    name: str = "default",
    progress: Progress = silent,
) -> Artifact:
    """The prepared stage OUT/prepared; raises TooFewSubjects before anybody gets a fold.

    Who is the same person under two ids is read from the ledger's reviews (`record_review`).
    """
    everything = Manifest.read(manifest.path)
    chosen, left_out = of_one_kind(everything)
    if len(chosen.subjects) < config.min_subjects:
        raise TooFewSubjects(_too_few(len(chosen.subjects), config.min_subjects, left_out))
    folds = assign_folds(ledger, name, chosen.subjects, keys, config)
    elsewhere = sum(scan.subject_id in folds.left_out for scan in chosen)
    left_out |= {ELSEWHERE: elsewhere} if elsewhere else {}
    kept = chosen.keep(scan for scan in chosen if scan.subject_id in folds.folds)
    digest = folds.digest(name)
    request = Request(
        stage=STAGE,
        parents={"manifest": manifest.digest, "folds": digest, "people": folds.people.digest},
        config={**config.model_dump(mode="json"), "name": name},
        code=code_digest("medsynth.prepare"),
        key_fingerprint=keys.fingerprint,
    )
    work = _Work(manifest.path, kept, left_out, folds, digest, config, progress)
    return produce(out, request, work.build)


@dataclass(frozen=True)
class _Work:
    """All that one preparation needs."""

    source: Path
    chosen: Manifest
    left_out: Mapping[str, int]
    folds: Folds
    folds_digest: str
    config: PrepareConfig
    progress: Progress

    def build(self, folder: Path) -> None:
        """Fill the stage folder; what a killed run left there is written anew."""
        for name in ("volumes", MASKS):
            shutil.rmtree(folder / name, ignore_errors=True)
        grid = self._grid()
        scans = []
        for done, scan in enumerate(self.chosen):
            scans.append(self._conformed(folder, scan, grid))
            self.progress(done + 1, len(self.chosen))
        prepared = self.chosen.keep(scans)
        prepared.write(folder)
        report = adequacy(prepared, grid, self.left_out, self.folds_digest)
        report |= {"people": people_counts(self.chosen, self.folds)}
        (folder / ADEQUACY).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")

    def _grid(self) -> Grid:
        """The grid of the median training scan: the other folds stay unseen."""
        train = [s for s in self.chosen if self.folds.folds[s.subject_id] == "train"]
        return median_grid(self.source, train or self.chosen, self.config)

    def _conformed(self, folder: Path, scan: Scan, grid: Grid) -> Scan:
        return store_scan(
            folder,
            on_grid(self.source, scan, grid, self.config),
            scan_id=scan.scan_id,
            subject_id=self.folds.people.person(scan.subject_id),
            modality=scan.modality,
            attributes=masks_on_grid(self.source, folder, scan, self.chosen.schema, grid),
            flags=scan.flags,
            fold=self.folds.folds[scan.subject_id],
        )


def _too_few(found: int, needed: int, left_out: Mapping[str, int]) -> str:
    others = sum(left_out.values())
    reason = f"; {others} scans of another kind were left out" if others else ""
    return (
        f"{needed} usable subjects are needed, got {found}{reason}; "
        "look at the quarantine of the manifest stage, or add scans"
    )
