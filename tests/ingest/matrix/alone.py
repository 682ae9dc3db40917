"""Ingest each file alone in a process of its own under limits; prints what came of it as JSON.

Run as `python alone.py SCRATCH FILE...`. A child has at most 512 MB more address space than the
imports took, and 30 seconds of processor time: it must end in volumes or a reason, never dead.
"""

import json
import os
import resource
import shutil
import sys
from pathlib import Path

from medsynth.core.keys import DEMO_KEYS
from medsynth.core.manifest import Manifest, load_scan
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.quarantine import read_quarantine

MOST_BYTES = 512 << 20
MOST_SECONDS = 30


def limit() -> None:
    """Bound what this process may take; the sandbox below it sets limits of its own."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    for kind, number in ((resource.RLIMIT_AS, most), (resource.RLIMIT_CPU, MOST_SECONDS)):
        resource.setrlimit(kind, (number, resource.getrlimit(kind)[1]))


def read_alone(file: Path, scratch: Path) -> dict[str, object]:
    """The volumes and refusals of one file, copied under its own name."""
    (scratch / "in").mkdir(parents=True)
    shutil.copy(file, scratch / "in" / file.name)
    made = ingest(
        scratch / "in", scratch / "out", DEMO_KEYS, IngestConfig(min_matrix=1, localizers=True)
    )
    shapes = [list(load_scan(made.path, scan).array.shape[1:]) for scan in Manifest.read(made.path)]
    return {"shapes": shapes, "refused": read_quarantine(made.path)}


def in_child(file: Path, scratch: Path) -> dict[str, object]:
    """The same in a forked child; a dead child leaves its exit status alone."""
    answer = scratch.with_suffix(".json")
    child = os.fork()
    if not child:
        limit()
        try:
            answer.write_text(json.dumps(read_alone(file, scratch)))
        finally:
            os._exit(0 if answer.exists() else 1)
    status = os.waitpid(child, 0)[1]
    return json.loads(answer.read_text()) if answer.exists() else {"died": status}


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / "nothing").mkdir(parents=True)
    ingest(root / "nothing", root / "warm", DEMO_KEYS)  # imports once, not in every child
    found = {
        name: in_child(Path(name), root / f"{number}") for number, name in enumerate(sys.argv[2:])
    }
    print(json.dumps(found))
