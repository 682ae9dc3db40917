"""What may be looked at: views of a generator, each screened like a scan of a cohort.

A group of views says something only together, so one that the screen turns away takes its group
along. What is left is numbered anew and of each set so many groups are missing as rounding up to
a multiple of five allows: neither which views were turned away nor exactly how many leaves.
"""

import shutil
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

import numpy as np

from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.stage import Artifact
from medsynth.core.views import Group, Views
from privacy.evidence import rounded_up
from privacy.screen.decide import Screen, Tick


def show(folder: Path, views: Artifact, screen: Screen, seed: int, tick: Tick) -> None:
    """Fill a stage folder with the groups of views that pass the screen whole."""
    manifest = Manifest.read(views.path)
    rejected: set[str] = set()
    if len(manifest):
        volumes = load_arrays(views.path, manifest).astype(np.float32)
        refused = screen.rejects(screen.match(volumes, tick))
        rejected = {scan.scan_id for scan, is_bad in zip(manifest, refused, strict=True) if is_bad}
    rng = np.random.default_rng([seed, 6])
    sets = {
        name: _kept(groups, rejected, rng) for name, groups in Views.read(views.path).sets.items()
    }
    _copy(folder, views, manifest, Views(sets))


def _kept(
    groups: tuple[Group, ...], rejected: Set[str], rng: np.random.Generator
) -> tuple[Group, ...]:
    """The groups without a rejected view; some of them withheld, so that their count tells less."""
    passed = [group for group in groups if rejected.isdisjoint(group)]
    num_kept = max(0, len(groups) - rounded_up(len(groups) - len(passed)))
    chosen = sorted(rng.permutation(len(passed))[:num_kept].tolist())
    return tuple(passed[place] for place in chosen)


def _copy(folder: Path, views: Artifact, manifest: Manifest, kept: Views) -> None:
    """The kept views under new numbers, in the order of their sets."""
    scans = {scan.scan_id: scan for scan in manifest}
    ordered = [name for groups in kept.sets.values() for group in groups for name in group]
    names = {old: f"shown-{number:06d}" for number, old in enumerate(ordered)}
    shutil.rmtree(folder / "volumes", ignore_errors=True)
    (folder / "volumes").mkdir()
    rows = []
    for old, new in names.items():
        row = replace(scans[old], scan_id=new, subject_id=new, path=f"volumes/{new}.nii")
        shutil.copyfile(views.path / scans[old].path, folder / row.path)
        rows.append(row)
    manifest.keep(rows).write(folder)
    renamed = {
        set_name: tuple(tuple(names[old] for old in group) for group in groups)
        for set_name, groups in kept.sets.items()
    }
    Views(renamed).write(folder)
