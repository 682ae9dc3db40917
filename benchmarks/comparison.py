"""Ours beside a peer in one run: ratios first, then seconds, the limit and what quality says.

Pairs are interleaved, so that whatever else the machine does hits both alike. A speed-up whose
gates do not hold is a failure, and the process ends with 1.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.roofline import Machine, machine_line, seconds_of

PAGE = Path(__file__).parents[1] / "docs/benchmarks/generator-speed.md"
HEAD = (
    "| what | times as fast: median (range, pairs) | goal | seconds: peer, ours | of the limit "
    "| quality |\n| --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Gate:
    """What a speed-up must not cost: a number that may not be larger than another."""

    what: str
    value: float
    most: float

    @property
    def holds(self) -> bool:
        return self.value <= self.most

    def __str__(self) -> str:
        return f"{self.what} {self.value:.3g} (at most {self.most:.3g})" + " FAILS" * (
            not self.holds
        )


@dataclass(frozen=True)
class Result:
    """One comparison; the limit is the least seconds that ours could take."""

    what: str
    peer: Sequence[float]
    ours: Sequence[float]
    goal: float | None = None
    limit: float | None = None
    gates: tuple[Gate, ...] = ()

    @property
    def row(self) -> str:
        ratios = np.divide(self.peer, self.ours)
        middle = float(np.median(ratios))
        goal = "-" if self.goal is None else f">= {self.goal:g}"
        missed = " missed" * (self.goal is not None and middle < self.goal)
        own = float(np.median(self.ours))
        cells = (
            self.what,
            f"{middle:.3g} ({ratios.min():.3g} to {ratios.max():.3g}, {len(ratios)})",
            goal + missed,
            f"{np.median(self.peer):.4g}, {own:.4g}",
            "-" if self.limit is None else f"{self.limit / own:.0%}",
            "; ".join(map(str, self.gates)) or "-",
        )
        return f"| {' | '.join(cells)} |"


def interleaved(rounds: int, *ways: Callable[[], object]) -> list[list[float]]:
    """Seconds of each way, round by round, after one that does not count."""
    for way in ways:
        way()
    taken = [[seconds_of(way) for way in ways] for _ in range(rounds)]
    return [list(column) for column in zip(*taken, strict=True)]


def arguments(doc: str | None, *, rounds: int = 7) -> argparse.ArgumentParser:
    """What every benchmark of the generator is asked."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="pairs of each comparison")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    return parser


def tell(
    title: str, results: Sequence[Result], machine: Machine, notes: Sequence[str], write: bool
) -> None:
    """Print the table, write it where asked, and end the process: 1 where a gate fails."""
    table = "\n".join([HEAD, *(result.row for result in results)])
    publish(title, table, machine, notes, write)
    sys.exit(not all(gate.holds for result in results for gate in result.gates))


def publish(title: str, table: str, machine: Machine, notes: Sequence[str], write: bool) -> None:
    """Print a section, and write it where asked."""
    said = "\n".join(f"- {note}" for note in notes)
    command = f"`{' '.join(['python -m', _module(), *sys.argv[1:]])}`"
    facts = f"{command}; {machine_line()}; {machine}."
    text = f"## {title}\n\n{facts}\n\n{table}\n" + f"\n{said}\n" * bool(said)
    print(text)
    if write:
        write_section(title, text)


def write_section(title: str, text: str) -> None:
    """Put a section in place of that of the same title, or at the end."""
    page = PAGE.read_text() if PAGE.exists() else "# Speed of the generator\n"
    old = rf"^## {re.escape(title)}\n.*?(?=^## |\Z)"
    page = re.sub(old, "", page, flags=re.S | re.M).rstrip() + f"\n\n{text}"
    PAGE.write_text(page)


def _module() -> str:
    return f"benchmarks.{Path(sys.argv[0]).stem}"


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
