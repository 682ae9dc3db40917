"""Scans that somebody else laid out: plain folders become stage folders on the cohort's grid.

The judge only ever gets manifests and volumes of one shape with intensities in [0, 1].
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.config import RunConfig
from medsynth.core.geometry import Volume
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, load_scan, store_scan
from medsynth.core.stage import (
    RECEIPT,
    Artifact,
    Progress,
    Request,
    code_digest,
    open_stage,
    produce,
)
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.prepare.grid import conform, derive_grid, normalize, plane_last

Shape = tuple[int, int, int]
_RAW = "manifest"
"""The stage whose volumes still have their archive's grid and intensities."""


@dataclass(frozen=True)
class Reader:
    """Turns any folder of scans into a stage folder that the judge can read."""

    out: Path
    keys: Keys
    config: RunConfig
    progress: Progress

    def read(self, folder: Path, name: str, shape: Shape | None = None) -> Artifact:
        """A stage folder as it is; a plain folder, or raw volumes, on a grid of this shape."""
        if not (folder / RECEIPT).is_file():
            place = self.out / "plain" / name
            raw = ingest(folder, place, self.keys, self._as_they_are, progress=self.progress)
            return self._conform(raw, place, shape)
        given = open_stage(folder)
        return self._conform(given, self.out / "plain" / name, shape) if _is_raw(given) else given

    @property
    def _as_they_are(self) -> IngestConfig:
        """What is judged must be what the others hold: nothing is refused or changed for its looks.

        None of these volumes leaves but a cohort's, which its maker already has.
        """
        looks = PixelChecks(text="off", ocr="off", faces="keep")
        return self.config.ingest.model_copy(update={"pixels": looks, "min_matrix": 1})

    def _conform(self, raw: Artifact, place: Path, shape: Shape | None) -> Artifact:
        config = self.config.prepare.model_dump(mode="json")
        request = Request(
            stage="conformed",
            parents={"manifest": raw.digest},
            config={**config, "shape": shape or config["shape"]},
            code=code_digest("flows.plain"),
        )
        return produce(place, request, lambda folder: self._build(folder, raw, shape))

    def _build(self, folder: Path, raw: Artifact, shape: Shape | None) -> None:
        shutil.rmtree(folder / "volumes", ignore_errors=True)
        manifest, config = Manifest.read(raw.path), self.config.prepare
        geometries = [plane_last(load_scan(raw.path, scan)).geometry for scan in manifest]
        shapes = {geometry.spatial_shape for geometry in geometries}
        chosen = shape or config.shape or (shapes.pop() if len(shapes) == 1 else None)
        grid = derive_grid(geometries, config.model_copy(update={"shape": chosen}))
        scans = []
        for done, scan in enumerate(manifest):
            volume = plane_last(load_scan(raw.path, scan))
            scaled = normalize(volume.array[0], config, is_inverted="monochrome1" in scan.flags)
            scans.append(
                store_scan(
                    folder,
                    conform(Volume(scaled[None], volume.geometry), grid),
                    scan_id=scan.scan_id,
                    subject_id=scan.subject_id,
                    modality=scan.modality,
                    attributes=scan.attributes,
                    flags=scan.flags,
                )
            )
            self.progress(done + 1, len(manifest))
        manifest.keep(scans).write(folder)


def _is_raw(artifact: Artifact) -> bool:
    return artifact.stage == _RAW


def shape_of(artifact: Artifact) -> Shape | None:
    """Shape of a stage folder's scans; none where it holds none."""
    scans = Manifest.read(artifact.path).scans
    return scans[0].geometry.spatial_shape if scans else None
