"""What the ledger knows of a cohort's past: what its source gave away before, which folds it spent.

Releases of one generator add up: whoever holds two may lay them side by side. So the scans that
left before are judged together with the new ones; where they are missing, nothing passes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medsynth.core.digest import json_digest
from medsynth.core.errors import StaleInput
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest, Scan, load_scan
from medsynth.core.schema import Attributes
from medsynth.core.stage import open_stage
from privacy.ledger import Cohort, find_accepted, read_history


@dataclass(frozen=True, eq=False)
class Beside:
    """Scans that left before and are judged beside a cohort, and how many cohorts they are of."""

    volumes: Float[np.ndarray, "n i j k"]
    requests: tuple[Attributes, ...]
    num_cohorts: int = 0
    num_missing: int = 0


@dataclass(frozen=True)
class Past:
    """Earlier cohorts of the same source, and where their accepted scans lie, by Merkle root."""

    cohorts: tuple[Cohort, ...] = ()
    places: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def read(cls, ledger: Path, keys: Keys, cohort: Cohort, given: Iterable[Path]) -> "Past":
        """The past of a cohort; its scans are looked for where audits put them, and in `given`."""
        cohorts = read_history(ledger, keys).earlier(cohort)
        if not cohorts:
            return cls()
        folders = [folder for one in cohorts for folder in _kept_in(Path(one.out))]
        return cls(cohorts, find_accepted(cohorts, filter(_is_whole, [*given, *folders])))

    @property
    def digest(self) -> str:
        """Digest of what an audit hangs on: the cohorts, and which of them are at hand."""
        known = sorted(cohort.accepted for cohort in self.cohorts)
        return json_digest({"known": known, "at_hand": sorted(self.places)})

    def load(self, shape: tuple[int, ...], ours: Iterable[Scan]) -> Beside:
        """The scans of all earlier cohorts at hand that are not among `ours`, each once."""
        seen = {scan.digest for scan in ours}
        found: list[tuple[Path, Scan]] = []
        for _, folder in sorted(self.places.items()):
            new = [scan for scan in Manifest.read(folder) if scan.digest not in seen]
            seen |= {scan.digest for scan in new}
            found += [(folder, scan) for scan in new]
        volumes = np.zeros((len(found), *shape), np.float32)
        for number, (folder, scan) in enumerate(found):
            volumes[number] = load_scan(folder, scan).array[0]
        requests = tuple(scan.attributes for _, scan in found)
        num_missing = len(self.cohorts) - len(self.places)
        return Beside(volumes, requests, len(self.cohorts), num_missing)


def _kept_in(out: Path) -> Iterator[Path]:
    """Where an audit's accepted scans lie, or a later audit in the same OUT put them."""
    yield out / "accepted"
    yield from sorted((out / "superseded").glob("accepted-*"))


def _is_whole(folder: Path) -> bool:
    try:
        return open_stage(folder).stage == "accepted"
    except StaleInput:
        return False
