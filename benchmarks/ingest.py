"""Ingest beside its peers on the same files in one run: `python benchmarks/ingest.py matrix real`.

`matrix` reads every case of tests/ingest/matrix, `real` every series of ../shared/data/dicom that
has a reference; both print right / refused / wrong per case and totals, and write them into
docs/benchmarks/ingest.md. `speed` is benchmarks/ingest_speed.py.
"""

import argparse
import os
import platform
import runpy
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from ingest_matrix import Row, matrix, real
from ingest_readers import READERS, versions

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks/ingest.md"
WORDS = ("right", "read", "refused", "nothing", "partial", "double", "right+wrong", "wrong")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=("matrix", "real", "speed"))
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    arguments = parser.parse_args()
    readers = arguments.readers
    if "matrix" in arguments.what:
        rows = matrix(readers, arguments.only)
        scored = {name: row for name, row in rows.items() if name[:2].isdigit()}
        further = {name: row for name, row in rows.items() if name not in scored}
        show("scored", "The 45 cases of reference/ingest.md", scored, readers)
        show("further", "Further cases", further, readers)
    if "real" in arguments.what:
        rows = real(arguments.shared, readers)
        show("real", "Real series with a reference", rows, readers)
    if "speed" in arguments.what:
        runpy.run_path(str(ROOT / "benchmarks/ingest_speed.py"), run_name="__main__")


def show(key: str, title: str, rows: Mapping[str, Row], readers: Sequence[str]) -> None:
    """Print one table, and put it in its place on the page if it is whole."""
    text = f"## {title}\n\n{_origin()}\n\n{totals(rows, readers)}\n\n{table(rows, readers)}\n"
    print(text, flush=True)
    if rows and list(readers) == list(READERS):
        write(key, text)


def table(rows: Mapping[str, Row], readers: Sequence[str]) -> str:
    """A line per case, a column per reader."""
    lines = [f"| case | {' | '.join(readers)} |", "|---" * (len(readers) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(row[reader].label for reader in readers)} |")
    return "\n".join(lines)


def totals(rows: Mapping[str, Row], readers: Sequence[str]) -> str:
    """A line per reader: how many cases ended in which word."""
    lines = [f"| of {len(rows)} | {' | '.join(WORDS)} |", "|---" * (len(WORDS) + 1) + "|"]
    for reader in readers:
        counts = Counter(row[reader].word for row in rows.values())
        lines.append(f"| {reader} | {' | '.join(str(counts[word]) for word in WORDS)} |")
    return "\n".join(lines)


def _origin() -> str:
    known = ", ".join(f"{name} {number}" for name, number in versions().items())
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    return f"Measured {date.today().isoformat()} on {machine}; {known}; default settings."


def write(key: str, text: str) -> None:
    """Replace one table of the page, between its two marks."""
    start, end = f"<!-- {key} -->\n", f"<!-- /{key} -->\n"
    page = PAGE.read_text()
    before, after = page.split(start)[0], page.split(end)[1]
    PAGE.write_text(f"{before}{start}{text}{end}{after}")


if __name__ == "__main__":
    main()
