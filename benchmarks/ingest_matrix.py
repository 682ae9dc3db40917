"""Every reader on every case of the matrix and on every real series: right, refused or wrong.

A reader works in a process of its own, so that one that crashes or hangs costs only its case.
"""

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ingest"))

import numpy as np
from ingest_readers import READERS, Volumes, attempt
from matrix.every import CASES
from matrix.judge import Found, Verdict, verdict
from matrix.real import SETS, compare

LIMIT = 120  # seconds that a reader may take for one case


@dataclass
class Workers:
    """One process per reader, made anew when it dies."""

    pools: dict[str, ProcessPoolExecutor] = field(default_factory=dict)

    def read(self, reader: str, folder: Path, out: Path) -> tuple[Volumes, str]:
        """What a reader makes of a folder, and how it failed."""
        if reader not in self.pools:
            self.pools[reader] = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            return self.pools[reader].submit(attempt, reader, folder, out).result(LIMIT)
        except (BrokenProcessPool, TimeoutError) as error:
            pool = self.pools.pop(reader)
            for process in list((pool._processes or {}).values()):
                process.kill()
            return [], "timeout" if isinstance(error, TimeoutError) else "crash"

    def close(self) -> None:
        """End every process."""
        for pool in self.pools.values():
            pool.shutdown()


Row = dict[str, Verdict]


def matrix(readers: Sequence[str] = tuple(READERS), only: str = "") -> dict[str, Row]:
    """Verdict by case and reader."""
    workers, rows = Workers(), {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(case for case in CASES if only in case.name):
            folder = Path(scratch) / f"in{number}"
            expected = case.write(folder)
            rows[case.name] = {}
            for reader in readers:
                found, failure = workers.read(reader, folder, Path(scratch) / f"{reader}{number}")
                volumes = [Found(np.asarray(array), affine) for array, affine in found]
                rows[case.name][reader] = verdict(expected, volumes, bool(failure))
    workers.close()
    return rows


def real(shared: Path, readers: Sequence[str] = tuple(READERS)) -> dict[str, Row]:
    """Verdict by real series and reader: equal voxels, affine to 1e-3 mm."""
    workers, rows = Workers(), {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, one in SETS.items():
            folder = one.place(shared, Path(scratch) / name)
            rows[name] = {}
            for reader in readers:
                out = Path(scratch) / f"{name}-{reader}"
                found, failure = workers.read(reader, folder, out)
                rows[name][reader] = compare(one, shared, found, bool(failure))
    workers.close()
    return rows
