"""What a watching person sees: a bar per stage on a terminal, plain lines in a log.

Everything goes to standard error; standard output is the answer's alone.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from medsynth.core.stage import Progress as Report

WORDS = {
    "archive": "writing a phantom archive",
    "spool": "fetching series from the archive",
    "manifest": "reading and de-identifying scans",
    "deidentified": "rewriting DICOM without identifiers",
    "prepared": "bringing scans onto one grid",
    "checkpoint": "learning from scans",
    "cohort": "drawing synthetic scans",
    "views": "drawing scans to compare",
    "evidence": "screening and attacking the cohort",
    "evaluation": "measuring quality",
    "comparison": "training rivals and measuring all",
    "report": "writing the report",
    "release": "packing the release",
    "registry": "registering the generator",
    "services": "starting Prefect and MLflow",
}
_QUARTERS = 4


@contextmanager
def show_progress(stage: str) -> Iterator[Report]:
    """A progress for one stage, shown the way standard error can show it."""
    words = WORDS.get(stage, stage)
    if sys.stderr.isatty():
        with _bar(words) as report:
            yield report
    else:
        with _lines(words) as report:
            yield report


@contextmanager
def _bar(words: str) -> Iterator[Report]:
    columns = (
        TextColumn("[bold]{task.description:<36}"),
        BarColumn(complete_style="cyan", finished_style="green"),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(words, total=None, count="")

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, count=f"{done}/{total}")

        yield report
        total = progress.tasks[0].total or 1
        progress.update(task, completed=total, total=total)


@contextmanager
def _lines(words: str) -> Iterator[Report]:
    start, quarter = time.monotonic(), 0

    def report(done: int, total: int) -> None:
        nonlocal quarter
        reached = _QUARTERS * done // max(total, 1)
        if quarter < reached < _QUARTERS:
            print(f"{words}: {done}/{total}", file=sys.stderr, flush=True)
        quarter = max(quarter, reached)

    print(f"{words} ...", file=sys.stderr, flush=True)
    yield report
    print(f"{words}: done in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
