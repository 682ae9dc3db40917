"""Prepare: scans of one kind on the model's grid, split by subject."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsynth.core.errors import TooFewSubjects
from medsynth.core.geometry import Volume
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, Scan, load_scan, store_scan
from medsynth.core.stage import Artifact, Progress, Request, code_digest, produce, silent
from medsynth.prepare.adequacy import adequacy
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.folds import assign_folds, folds_digest
from medsynth.prepare.grid import Grid, conform, derive_grid, normalize, plane_last

STAGE = "prepared"
ADEQUACY = "adequacy.json"
_DEFAULTS = PrepareConfig()
_INVERTED_FOR_DISPLAY = ("CR", "DX", "MG")


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
    """The prepared stage OUT/prepared; raises TooFewSubjects before anybody gets a fold."""
    everything = Manifest.read(manifest.path)
    chosen, left_out = _majority(everything)
    if len(chosen.subjects) < config.min_subjects:
        raise TooFewSubjects(_too_few(len(chosen.subjects), config.min_subjects, left_out))
    folds = assign_folds(ledger, name, chosen.subjects, keys, config)
    digest = folds_digest(name, folds)
    request = Request(
        stage=STAGE,
        parents={"manifest": manifest.digest, "folds": digest},
        config={**config.model_dump(mode="json"), "name": name},
        code=code_digest("medsynth.prepare"),
        key_fingerprint=keys.fingerprint,
    )
    work = _Work(manifest.path, chosen, left_out, folds, digest, config, progress)
    return produce(out, request, work.build)


@dataclass(frozen=True)
class _Work:
    """All that one preparation needs."""

    source: Path
    chosen: Manifest
    left_out: Mapping[str, int]
    folds: Mapping[str, str]
    folds_digest: str
    config: PrepareConfig
    progress: Progress

    def build(self, folder: Path) -> None:
        """Fill the stage folder; what a killed run left there is written anew."""
        shutil.rmtree(folder / "volumes", ignore_errors=True)
        grid = self._grid()
        scans = []
        for done, scan in enumerate(self.chosen):
            scans.append(self._conformed(folder, scan, grid))
            self.progress(done + 1, len(self.chosen))
        prepared = self.chosen.keep(scans)
        prepared.write(folder)
        report = adequacy(prepared, grid, self.left_out, self.folds_digest)
        (folder / ADEQUACY).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")

    def _grid(self) -> Grid:
        """The grid of the median training scan: the other folds stay unseen."""
        train = [s for s in self.chosen if self.folds[s.subject_id] == "train"] or self.chosen
        volumes = [plane_last(load_scan(self.source, scan)) for scan in train]
        return derive_grid([volume.geometry for volume in volumes], self.config)

    def _conformed(self, folder: Path, scan: Scan, grid: Grid) -> Scan:
        volume = plane_last(load_scan(self.source, scan))
        is_inverted = "monochrome1" in scan.flags and scan.modality in _INVERTED_FOR_DISPLAY
        scaled = normalize(volume.array[0], self.config, is_inverted=is_inverted)
        conformed = conform(Volume(scaled[None], volume.geometry), grid)
        return store_scan(
            folder,
            Volume(np.clip(conformed.array, 0, 1), conformed.geometry),
            scan_id=scan.scan_id,
            subject_id=scan.subject_id,
            modality=scan.modality,
            attributes=scan.attributes,
            flags=scan.flags,
            fold=self.folds[scan.subject_id],
        )


def _majority(manifest: Manifest) -> tuple[Manifest, dict[str, int]]:
    """Scans of the most common modality and orientation of plane, and how many others there are."""
    kinds = Counter(_kind(scan) for scan in manifest)
    if not kinds:
        return manifest, {}
    most = max(sorted(kinds), key=lambda kind: kinds[kind])
    others = sum(kinds.values()) - kinds[most]
    kept = manifest.keep(scan for scan in manifest if _kind(scan) == most)
    return kept, {"other_kind": others} if others else {}


def _kind(scan: Scan) -> tuple[str, str]:
    """Modality, and "3D" or the axis that a plane is thin along."""
    thin = [axis for axis, side in zip("IJK", scan.shape[:3], strict=True) if side == 1]
    return scan.modality, thin[-1] if thin else "3D"


def _too_few(found: int, needed: int, left_out: Mapping[str, int]) -> str:
    others = sum(left_out.values())
    reason = f"; {others} scans of another kind were left out" if others else ""
    return (
        f"{needed} usable subjects are needed, got {found}{reason}; "
        "look at the quarantine of the manifest stage, or add scans"
    )
