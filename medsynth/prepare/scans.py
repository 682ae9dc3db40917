"""Scans of one kind, one by one onto a grid: what prepare does to each, whatever its fold."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medsynth.core.geometry import Volume
from medsynth.core.manifest import Manifest, Scan, load_scan
from medsynth.core.stage import Progress, silent
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.grid import Grid, conform, derive_grid, normalize, plane_last

_INVERTED_FOR_DISPLAY = ("CR", "DX", "MG")


def of_one_kind(manifest: Manifest) -> tuple[Manifest, dict[str, int]]:
    """Scans of the most common modality and orientation of plane, and how many others there are."""
    kinds = Counter(_kind(scan) for scan in manifest)
    if not kinds:
        return manifest, {}
    most = max(sorted(kinds), key=lambda kind: kinds[kind])
    others = sum(kinds.values()) - kinds[most]
    kept = manifest.keep(scan for scan in manifest if _kind(scan) == most)
    return kept, {"other_kind": others} if others else {}


def median_grid(folder: Path, scans: Iterable[Scan], config: PrepareConfig) -> Grid:
    """The grid of the median of these scans."""
    volumes = [plane_last(load_scan(folder, scan)) for scan in scans]
    return derive_grid([volume.geometry for volume in volumes], config)


def on_grid(folder: Path, scan: Scan, grid: Grid, config: PrepareConfig) -> Volume:
    """A scan of a manifest stage on the grid, in [0, 1]."""
    volume = plane_last(load_scan(folder, scan))
    is_inverted = "monochrome1" in scan.flags and scan.modality in _INVERTED_FOR_DISPLAY
    scaled = normalize(volume.array[0], config, is_inverted=is_inverted)
    conformed = conform(Volume(scaled[None], volume.geometry), grid)
    return Volume(np.clip(conformed.array, 0, 1), conformed.geometry)


def without_folds(
    folder: Path, config: PrepareConfig, progress: Progress = silent
) -> tuple[Manifest, Float[np.ndarray, "n i j k"]]:
    """All scans of one kind of a manifest stage, and their voxels as they will be prepared.

    The grid is that of the median of all: nobody has a fold yet.
    """
    manifest, _ = of_one_kind(Manifest.read(folder))
    grid = median_grid(folder, manifest, config)
    arrays = np.empty((len(manifest), *grid.shape), np.float32)
    for done, scan in enumerate(manifest):
        arrays[done] = on_grid(folder, scan, grid, config).array[0]
        progress(done + 1, len(manifest))
    return manifest, arrays


def _kind(scan: Scan) -> tuple[str, str]:
    """Modality, and "3D" or the axis that a plane is thin along."""
    thin = [axis for axis, side in zip("IJK", scan.shape[:3], strict=True) if side == 1]
    return scan.modality, thin[-1] if thin else "3D"
