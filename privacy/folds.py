"""The real scans, fold by fold, as arrays: nothing but voxels and who owns them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from medsynth.core.errors import TooFewSubjects, UsageProblem
from medsynth.core.manifest import Manifest, Scan, load_arrays
from medsynth.core.schema import Attributes
from medsynth.core.stage import Artifact


@dataclass(frozen=True, eq=False)
class Fold:
    """Scans of one fold, in [0, 1], the number of each scan's subject, and what is known of it."""

    volumes: Float[np.ndarray, "n i j k"]
    subjects: Int[np.ndarray, " n"]
    attributes: tuple[Attributes, ...] = ()

    @property
    def num_subjects(self) -> int:
        """How many different subjects."""
        return len(np.unique(self.subjects))


@dataclass(frozen=True, eq=False)
class RealFolds:
    """Members, controls and calibration subjects, disjoint; `test` where there is one."""

    train: Fold
    control: Fold
    calibration: Fold
    test: Fold | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    """Id of each subject by its number, where known; for the ledger alone."""

    def __post_init__(self) -> None:
        shapes = {fold.volumes.shape[1:] for fold in self.present}
        if len(shapes) != 1:
            raise UsageProblem(f"real scans must have one shape, got {sorted(shapes)}")
        seen = [np.unique(fold.subjects) for fold in self.present]
        if len(np.unique(np.concatenate(seen))) != sum(map(len, seen)):
            raise UsageProblem("a subject must be in one fold only; some are in two")

    @property
    def present(self) -> tuple[Fold, ...]:
        """The folds that there are."""
        folds = (self.train, self.control, self.calibration)
        return folds if self.test is None else (*folds, self.test)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (i, j, k) of every real scan."""
        return self.train.volumes.shape[1:]

    @classmethod
    def from_prepared(cls, prepared: Artifact) -> "RealFolds":
        """The folds of our own prepared stage."""
        manifest = Manifest.read(prepared.path)
        groups = {name: [(prepared, scan) for scan in manifest.fold(name)] for name in _NAMES}
        return cls._from_scans(groups, {"prepared": prepared.digest})

    @classmethod
    def from_folders(
        cls,
        *,
        train: Artifact,
        control: Artifact,
        calibration: Artifact,
        test: Artifact | None = None,
    ) -> "RealFolds":
        """One stage folder per fold, whatever its manifest says of folds."""
        given = {"train": train, "control": control, "calibration": calibration, "test": test}
        present = {name: artifact for name, artifact in given.items() if artifact is not None}
        groups = {
            name: [(artifact, scan) for scan in Manifest.read(artifact.path)]
            for name, artifact in present.items()
        }
        return cls._from_scans(groups, {name: a.digest for name, a in present.items()})

    @classmethod
    def _from_scans(
        cls, groups: Mapping[str, list[tuple[Artifact, Scan]]], parents: Mapping[str, str]
    ) -> "RealFolds":
        for name in _NEEDED:
            if not groups[name]:
                raise TooFewSubjects(f"the judge needs scans in the fold {name}; it holds none")
        names = sorted({scan.subject_id for group in groups.values() for _, scan in group})
        numbers = {name: number for number, name in enumerate(names)}
        folds = {name: _load(group, numbers) for name, group in groups.items() if group}
        return cls(**folds, parents=dict(parents), names=tuple(names))


_NEEDED = ("train", "control", "calibration")
_NAMES = (*_NEEDED, "test")


def _load(group: list[tuple[Artifact, Scan]], numbers: Mapping[str, int]) -> Fold:
    shapes = {scan.shape for _, scan in group}
    if len(shapes) != 1:
        raise UsageProblem(f"real scans must have one shape, got {sorted(shapes)}")
    volumes = load_arrays(group[0][0].path, [scan for _, scan in group])
    owners = np.array([numbers[scan.subject_id] for _, scan in group])
    return Fold(volumes.astype(np.float32), owners, tuple(scan.attributes for _, scan in group))
