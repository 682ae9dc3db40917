"""What a verb answers: an exit code, one JSON object for a script, a few lines for a person."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medsynth.core.errors import MedsynthError

DONE, FAILED, USAGE, REFUSED = 0, 1, 2, 3
_WHOLE_WAY = (
    "peak_rss_bytes",
    "num_scans",
    "num_quarantined",
    "verdict",
    "evaluation",
    "release",
    "report",
)
VERB_KEYS = {
    "run": _WHOLE_WAY,
    "demo": _WHOLE_WAY,
    "ingest": (
        "num_volumes",
        "num_subjects",
        "quarantined",
        "num_files",
        "left_out",
        "flags",
        "page",
        "retrieved",
    ),
    "sample": ("num_scans", "seconds_per_scan", "drawn_with", "share_of_table", "asked"),
    "compare": ("comparison",),
    "compress": ("compression", "accepted", "reason"),
    "import-checkpoint": ("networks",),
    "audit": ("verdict", "policy", "scope", "num_synthetic", "num_rejected", "gates", "ledger"),
}
"""What a verb's object holds besides the common keys; what is unknown is null."""


@dataclass(frozen=True)
class Answer:
    """A verb's answer; `fields` join the keys that every object has."""

    out: Path | None = None
    reused: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = DONE
    lines: tuple[str, ...] = ()
    table: Any = None

    def to_json(self, seconds: float, verb: str = "") -> str:
        """One line of JSON with every key of the verb."""
        common = {
            "seconds": round(seconds, 3),
            "out": str(self.out.absolute()) if self.out else None,
            "reused": list(self.reused),
        }
        unknown = dict.fromkeys(VERB_KEYS.get(verb, ()))
        return json.dumps({**unknown, **common, **self.fields}, default=str)

    def show(self) -> None:
        """Print what a person reads."""
        if self.table is not None:
            from rich.console import Console

            Console().print(self.table)
        for line in self.lines:
            print(line)


def refusal(error: MedsynthError) -> Answer:
    """The answer of a verb that stopped for a reason we know."""
    return stop(error.exit_code, error.code, str(error))


def stop(exit_code: int, code: str, message: str) -> Answer:
    """The answer of a verb that stopped; a refusal by policy is no error, and gives its reason."""
    known = {"code": code, "message": message}
    fields = {"reason": message} if exit_code == REFUSED else {"error": known}
    return Answer(fields=fields, exit_code=exit_code)
