"""A metric as it is written and read: a number beside its floor, with interval and count."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "metrics.json"


@dataclass(frozen=True)
class Metric:
    """A number with its real-versus-real floor, 95 % interval and count; `None` is unknown."""

    value: float | None = None
    floor: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


def write_metrics(folder: Path, metrics: Mapping[str, Metric]) -> None:
    """Write metrics.json into a stage folder."""
    rows = {name: asdict(metric) for name, metric in metrics.items()}
    (folder / FILE_NAME).write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")


def read_metrics(folder: Path) -> dict[str, Metric]:
    """The metrics of an evaluation folder."""
    rows = json.loads((folder / FILE_NAME).read_text())
    return {name: Metric(**row) for name, row in rows.items()}
