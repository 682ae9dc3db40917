"""A case: a folder of files, and what a reader must make of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from matrix.phantom import Field, Grid, Sheet, linear
from pydicom.config import disable_value_validation


@dataclass(frozen=True)
class Wanted:
    """One volume that must come out; positions in LPS mm.

    `planes` are the fewest and the most that are right; `frames` holds (SOP instance, middle of
    the plane) of every image that belongs to the volume; `acquisition` what must be known of it;
    `maybe` flags that may stand on it, or not.
    """

    planes: tuple[int, int]
    frames: tuple[tuple[str, tuple[float, ...]], ...]
    constant: float = 0.0
    flags: frozenset[str] = frozenset()
    maybe: frozenset[str] = frozenset()
    observed: tuple[float, float] = (1.0, 1.0)
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1.2
    value: Field = linear


@dataclass(frozen=True)
class Expectation:
    """The right answer: volumes, files refused by reason ("a|b": either), and nothing else.

    `instead` names the reasons for which the whole case may be refused instead of read. Where
    `by_choice`, the answer is a choice of ours (what counts as a scan, where a detector lies), so
    another reader's volume is no error.
    """

    volumes: tuple[Wanted, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    instead: tuple[str, ...] = ()
    by_choice: bool = False


Write = Callable[[Path], Expectation]


@dataclass(frozen=True)
class Case:
    """A named input that can be written anywhere."""

    name: str
    write: Write
    is_scored: bool


CASES: list[Case] = []


def case(name: str) -> Callable[[Write], Write]:
    """Register the function that writes a case; names with a number are the scored 45."""

    def register(write: Write) -> Write:
        @wraps(write)
        def whatever_it_holds(folder: Path) -> Expectation:
            with disable_value_validation():  # pydicom would rather not write what we need
                return write(folder)

        assert name not in {known.name for known in CASES}
        CASES.append(Case(name, whatever_it_holds, is_scored=name[:2].isdigit()))
        return write

    return register


def wanted(
    sheets: Iterable[Sheet], planes: int | tuple[int, int] | None = None, **about: Any
) -> Wanted:
    """The volume that these images make; `planes` where they are not one each."""
    known = list(sheets)
    return of_grids(
        [(one.uid, one.grid) for one in known], planes, constant=known[0].constant, **about
    )


def of_grids(
    frames: Sequence[tuple[str, Grid]], planes: int | tuple[int, int] | None = None, **about: Any
) -> Wanted:
    """The volume that these frames of (SOP instance, plane) make."""
    least = most = len(frames)
    if planes is not None:
        least, most = (planes, planes) if isinstance(planes, int) else planes
    centers = tuple((uid, grid.center) for uid, grid in frames)
    about |= {name: frozenset(about.get(name, ())) for name in ("flags", "maybe")}
    if isinstance(seen := about.get("observed", 1.0), float):
        about["observed"] = (seen, seen)
    return Wanted((least, most), centers, **about)


def one(
    sheets: Iterable[Sheet], planes: int | tuple[int, int] | None = None, **about: Any
) -> Expectation:
    """One volume and nothing else."""
    return Expectation((wanted(sheets, planes, **about),))


def refused(reason: str, count: int, *, by_choice: bool = False) -> Expectation:
    """No volume: every file is refused for this reason."""
    return Expectation(refused={reason: count}, by_choice=by_choice)
