"""Scans that are looked at together: the same noise under several values of one attribute.

A set is what is compared, by the attribute's name, or STEPS for how a scan comes about. Its groups
are lists of scan ids, one noise each; the scans of a group stand in the order of the values asked
for, or of time, and say something only together.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STEPS = "step by step"
"""Name of the set of denoising trajectories; no attribute can have it."""
_FILE_NAME = "views.json"

Group = tuple[str, ...]


@dataclass(frozen=True)
class Views:
    """The groups of each set."""

    sets: Mapping[str, tuple[Group, ...]]

    def write(self, folder: Path) -> None:
        """Write views.json into a stage folder."""
        (folder / _FILE_NAME).write_text(json.dumps(dict(self.sets), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Views":
        """The views of a stage folder."""
        fields = json.loads((folder / _FILE_NAME).read_text())
        return cls({name: tuple(map(tuple, groups)) for name, groups in fields.items()})
