"""What a self-test leaves: counts, and nothing of any real scan."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from privacy.attacks.consistency import Consistency
from privacy.attacks.partition import Partition

Counts = tuple[int, int]
"""(found, planted)."""
FILE = "self_test.json"


@dataclass(frozen=True)
class SelfTest:
    """Planted copies found by the screen, and by screens that were broken on purpose.

    found: per kind, or in plain words why it could not be planted.
    copies: the partition of a cohort that is nothing but train scans.
    blinded, emptied: copies of all kinds found with an endless threshold, and without real scans.
    misnormalized: exact copies found whose intensities were cast to whole numbers.
    other_scan: second scans of train subjects found where only the first is known; None where
        nobody has two.
    """

    found: Mapping[str, Counts | str]
    copies: Partition
    blinded: Counts
    emptied: Counts
    misnormalized: Counts
    other_scan: Counts | None
    consistency: Consistency | None

    def write(self, folder: Path) -> None:
        """As JSON into a folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "SelfTest":
        """From a folder where `write` put it."""
        fields: dict[str, Any] = _tuples(json.loads((folder / FILE).read_text()))
        agreement = fields.pop("consistency")
        return cls(
            copies=Partition(**fields.pop("copies")),
            consistency=None if agreement is None else Consistency(**agreement),
            **fields,
        )


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
