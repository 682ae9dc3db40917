"""Asked beside achieved: of every cell asked for, what was drawn, accepted and read back.

Readers err, so what they read is a count with an interval and no verdict; how well an attribute
is obeyed, beside real scans and corrected for chance, is told by the agreement.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scipy.stats import binomtest

from medsynth.core.manifest import Manifest
from medsynth.sample.asked import AskedRow

FILE_NAME = "asked.json"


@dataclass(frozen=True)
class Achieved:
    """One cell, in scans.

    `asked`, `drawn` and `accepted` go by what was requested. `read` counts the accepted scans
    that are read as lying in the cell, of the `n` that were asked for some value of each of its
    attributes, with a 95 % interval (Wilson); `kept` does so for the `num_asked` of them that were
    asked for the cell. Without a reader, or for missing, nothing is read.
    """

    of: str
    where: str
    asked: float
    drawn: int
    accepted: int
    n: int = 0
    read: int | None = None
    low: float | None = None
    high: float | None = None
    num_asked: int = 0
    kept: int | None = None


def achieve(row: AskedRow, accepted: Manifest) -> Achieved:
    """One cell of the accepted scans, whose `measured` holds what was read off them."""
    schema = accepted.schema
    inside = [scan for scan in accepted if row.admits(scan.attributes, schema)]
    plain = Achieved(row.of, row.where, row.asked, row.drawn, len(inside))
    known = [s for s in accepted if all(s.attributes.get(n) is not None for n in row.terms)]
    can_be_read = all(s.measured.get(n) is not None for s in known for n in row.terms)
    if None in row.terms.values() or not row.terms or not known or not can_be_read:
        return plain
    there = {scan.scan_id for scan in known if row.admits(scan.measured, schema)}
    share = binomtest(len(there), len(known)).proportion_ci(method="wilson")
    return replace(
        plain,
        n=len(known),
        read=len(there),
        low=float(share.low) * len(known),
        high=float(share.high) * len(known),
        num_asked=len(inside),
        kept=sum(scan.scan_id in there for scan in inside),
    )


def write_achieved(folder: Path, rows: Iterable[Achieved]) -> None:
    """Write asked.json into a stage folder."""
    fields = [asdict(row) for row in rows]
    (folder / FILE_NAME).write_text(json.dumps(fields, indent=1, allow_nan=False) + "\n")


def read_achieved(folder: Path) -> tuple[Achieved, ...]:
    """The rows of an evaluation folder."""
    return tuple(Achieved(**row) for row in json.loads((folder / FILE_NAME).read_text()))
