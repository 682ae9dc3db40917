"""Thousands of damaged files through ingest: no crash, no hang, nothing lost, nothing outside OUT.

Run: OMP_NUM_THREADS=1 python benchmarks/fuzz_ingest.py [COUNT [SEED [SCRATCH]]]. Each batch is
ingested by a child of bounded address space whose home, working and temporary folders lie in the
scratch; a batch that breaks a rule stays there under bad/. Prints the figures of
docs/benchmarks/fuzz.md.
"""

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from fuzz_mutations import Seed, datasets, mutants, seeds

from medsynth.core.errors import UsageProblem
from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest import sandbox
from medsynth.ingest.archive import ingest
from medsynth.ingest.config import IngestConfig
from medsynth.ingest.files.nifti_config import NiftiConfig
from medsynth.ingest.page.account import SUMMARY, read_account
from medsynth.ingest.pixels.config import PixelChecks
from medsynth.ingest.quarantine import read_quarantine
from medsynth.ingest.reasons import FLAGS, LEFT_OUT, REASONS, words_of

BATCH = 200
MOST_SECONDS = 600
MOST_BYTES = 512 << 20
SHARED = Path(__file__).resolve().parents[2] / "shared"
CONFIG = IngestConfig(
    min_matrix=1,
    localizers=True,
    nifti=NiftiConfig(volumes="split"),
    pixels=PixelChecks(text="off", ocr="off", faces="keep"),
)


@dataclass
class Tally:
    """What became of all files so far, and every rule that was broken."""

    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    peaks: list[int] = field(default_factory=lambda: [0, 0])
    slowest: float = 0.0
    broken: list[str] = field(default_factory=list)


def child(source: Path, out: Path) -> None:
    """Ingest a batch within bounds; what it took goes beside the account in OUT."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    # The soft limit alone: the codecs' child sets its own.
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    try:
        made = ingest(source, out, DEMO_KEYS, CONFIG)
    except UsageProblem:  # a table that is none: the work stops with one sentence
        out.mkdir(exist_ok=True)
        (out / "told.json").write_text(json.dumps({"stopped": True}))
        return
    sandbox.close_all()
    account = read_account(made.path)
    refused = read_quarantine(made.path)
    # Not our own ru_maxrss, which begins with what the process that started us had.
    (own,) = (o for o in Path("/proc/self/status").read_text().splitlines() if "VmHWM:" in o)
    codecs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    told = {
        "files": account.num_files,
        "read": account.num_read,
        "volumes": account.num_volumes,
        "read in part": json.loads((made.path / SUMMARY).read_text())["num_read_in_part"],
        "refused": {code: n for code, n in refused.items() if code != "missing_file"},
        "left_out": {line.code: line.count for line in account.left_out},
        "flags": [line.code for line in account.flags],
        "peaks": [int(own.split()[1]) << 10, codecs << 10],
    }
    (out / "told.json").write_text(json.dumps(told))


def fuzz(count: int, seed: int, scratch: Path) -> Tally:
    """Damage so many files and ingest them batch by batch."""
    tally = Tally()
    pool = seeds(scratch / "seeds", SHARED)
    shutil.rmtree(scratch / "seeds")
    print(f"{len(pool)} seeds: {dict(Counter(one.kind for one in pool))}", flush=True)
    for number, files in enumerate(_batches(mutants(pool, count, seed), count, seed)):
        folder = scratch / f"batch{number:04d}"
        for name in ("in", "home", "tmp", "cwd"):
            (folder / name).mkdir(parents=True)
        for name, data in files.items():
            (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "in" / name).write_bytes(data)
        broken = list(_run(folder, tally))
        tally.broken += [f"batch {number}: {rule}" for rule in broken]
        shutil.move(folder, scratch / "bad" / folder.name) if broken else shutil.rmtree(folder)
        print(f"{number:4d} {dict(tally.counts)} {broken or ''}", flush=True)
    return tally


def _batches(stream: Iterator[Seed], count: int, seed: int) -> Iterator[dict[str, bytes]]:
    """Files by name: damaged ones by the batch, then one damaged dataset for every hundred."""
    while files := {f"{n:03d}{s.suffix}": s.data for n, s in enumerate(islice(stream, BATCH))}:
        yield files
    yield from datasets(count // 100, seed)


def _run(folder: Path, tally: Tally) -> Iterator[str]:
    """Ingest a batch in a child and name the rules that were broken."""
    before, start = _listing(folder), time.monotonic()
    places = {"HOME": folder / "home", "TMPDIR": folder / "tmp"}
    command = [sys.executable, "-B", "-W", "always", __file__, "--child", folder / "in"]
    try:
        run = subprocess.run(
            [*command, folder / "out"],
            cwd=folder / "cwd",
            env=os.environ | {name: str(place) for name, place in places.items()},
            capture_output=True,
            timeout=MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        yield "hangs"
        return
    tally.slowest = max(tally.slowest, time.monotonic() - start)
    (folder / "said").write_bytes(run.stdout + run.stderr)
    if run.returncode or not (folder / "out" / "told.json").exists():
        yield f"dies ({run.returncode})"
        return
    if run.stdout or run.stderr:
        yield f"says {len(run.stdout + run.stderr)} bytes"
    if _listing(folder) != before:
        yield "writes outside OUT"
    yield from _judged(json.loads((folder / "out" / "told.json").read_text()), tally)


def _listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder but OUT and what was said: mode, size, time of change."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] not in ("out", "said"):
            stat = path.lstat()
            found[name] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


def _judged(told: dict[str, Any], tally: Tally) -> Iterator[str]:
    if "stopped" in told:
        tally.counts["datasets stopped for their table"] += 1
        return
    refused, left_out = Counter(told["refused"]), Counter(told["left_out"])
    total = told["read"] + refused.total() + left_out.total() - told["read in part"]
    if total != told["files"]:
        yield f"{told['files']} files are counted as {total}"
    codes = ((told["refused"], REASONS), (left_out, LEFT_OUT), (told["flags"], FLAGS))
    for known, words in codes:
        if unknown := [code for code in known if not words_of(code, words)]:
            yield f"unknown codes {unknown}"
    if max(told["peaks"]) > MOST_BYTES:
        yield f"takes {max(told['peaks']) >> 20} MiB"
    tally.counts.update({name: told[name] for name in ("files", "read", "read in part", "volumes")})
    tally.counts.update(refused=refused.total(), left_out=left_out.total())
    tally.refused += refused
    tally.left_out += left_out
    tally.peaks = [max(pair) for pair in zip(tally.peaks, told["peaks"], strict=True)]


def report(tally: Tally, seed: int, seconds: float) -> None:
    """The figures in the words of docs/benchmarks/fuzz.md."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"\n{date.today()}, {machine}, seed {seed}, {seconds:.0f} s; {dict(tally.counts)}")
    print(f"peak memory: ingest {tally.peaks[0] >> 20} MiB, codecs {tally.peaks[1] >> 20} MiB")
    print(f"slowest batch of {BATCH}: {tally.slowest:.1f} s")
    print("\n| reason | files |\n|---|---|")
    for code, count in (tally.refused + tally.left_out).most_common():
        print(f"| {code} | {count:,} |")
    print("\nbroken rules:", *(tally.broken or ["none"]), sep="\n- ")


def main() -> None:
    """Read the command line."""
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    count, seed = int((*sys.argv[1:], 10_000)[0]), int((*sys.argv[2:], 1)[0])
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as spare:
        scratch = Path(sys.argv[3] if len(sys.argv) > 3 else spare)
        (scratch / "bad").mkdir(parents=True)
        tally = fuzz(count, seed, scratch)
    report(tally, seed, time.monotonic() - start)
    sys.exit(bool(tally.broken))


if __name__ == "__main__":
    main()
