"""What of a generator may be looked at: the stage "shown", read back as sweeps and traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medsynth.core.manifest import Manifest, load_arrays
from medsynth.core.schema import AttributeValue
from medsynth.core.views import STEPS, Views
from medsynth.release.difference import Difference


@dataclass(frozen=True, eq=False)
class Sweep:
    """The same noises under several values of one attribute, voxels in [0, 1]."""

    name: str
    values: Sequence[AttributeValue]
    volumes: Float[np.ndarray, "columns values i j k"]

    @property
    def difference(self) -> Difference | None:
        """Of the last value minus the first; none of a single column."""
        if len(self.volumes) < 2:
            return None
        return Difference.of(self.volumes[:, 0], self.volumes[:, -1])


@dataclass(frozen=True, eq=False)
class Shown:
    """Sweeps by attribute, and the ways of some scans from noise."""

    sweeps: Sequence[Sweep] = ()
    traces: Sequence[Float[np.ndarray, "states i j k"]] = ()

    @classmethod
    def read(cls, folder: Path) -> "Shown":
        """What a stage folder has."""
        scans = {scan.scan_id: scan for scan in Manifest.read(folder)}
        sweeps, traces = [], []
        for name, groups in Views.read(folder).sets.items():
            rows = [[scans[scan_id] for scan_id in group] for group in groups]
            volumes = [load_arrays(folder, row).astype(np.float32) for row in rows]
            if name == STEPS:
                traces += volumes
            elif rows:
                values = [scan.attributes[name] for scan in rows[0]]
                sweeps.append(Sweep(name, values, np.stack(volumes)))
        return cls(sweeps, traces)
