"""The judge's ledger: which cohorts were drawn from which model, and which folds were spent.

A file of JSON lines in MEDSYNTH_HOME that only grows. Each line holds the keyed digest of the one
before and its own, so a line that was changed, dropped or moved is noticed by whoever has the keys;
a tail that was cut off is noticed where a certificate holds a later `head`. It stays inside: no
line holds a score, a neighbor or an exact count of rejected scans.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from medsynth.core.digest import json_digest
from medsynth.core.errors import MedsynthError, StaleInput
from medsynth.core.journal import open_journal, read_whole_lines
from medsynth.core.keys import Keys
from medsynth.core.manifest import Manifest

_START = ""  # what stands before the first line

Line = dict[str, Any]


@dataclass(frozen=True)
class Cohort:
    """A cohort that was judged: drawn from which model, at which indices, with which verdict.

    `drawn` and `accepted` are Merkle roots; `model` is None where nobody handed one in. The scans
    drawn have indices from `start` up to `stop`, both 0 where nobody knows them; redraws in place
    of rejected ones do not count. `out` is where the accepted scans were put.
    """

    model: str | None
    folds: str
    drawn: str
    accepted: str
    num_drawn: int
    num_accepted: int
    seed: int
    start: int
    stop: int
    verdict: str
    policy: str
    out: str = field(default="", compare=False)

    @property
    def source(self) -> str:
        """What releases add up over: the model, else the real scans that a cohort imitates."""
        return self.model or f"folds {self.folds}"


@dataclass(frozen=True)
class History:
    """All that a ledger says, its chain checked."""

    lines: tuple[Line, ...] = ()

    @property
    def head(self) -> str:
        """The digest of the last line: a certificate that holds it pins everything before."""
        return str(self.lines[-1]["digest"]) if self.lines else _START

    def cohorts(self, source: str) -> tuple[Cohort, ...]:
        """Every cohort of one source that was judged, each once, in the order of the ledger."""
        told = [_cohort(line) for line in self.lines if line["kind"] == "cohort"]
        return tuple(dict.fromkeys(cohort for cohort in told if cohort.source == source))

    def earlier(self, cohort: Cohort) -> tuple[Cohort, ...]:
        """Cohorts of the same source that may have left before: those with a PASS, this one aside.

        One that was judged under this policy already has the same past again, so that the same
        audit finds what it found.
        """
        told = self.cohorts(cohort.source)
        ours = [n for n, c in enumerate(told) if _is_same_audit(c, cohort)]
        others = [c for c in told[: ours[0] if ours else None] if c.drawn != cohort.drawn]
        return tuple({c.accepted: c for c in others if c.verdict == "PASS"}.values())

    def num_drawn(self, source: str) -> int:
        """Different scans ever drawn from a source and judged; the same seed and index count once.

        Where indices are not known, each different cohort counts whole.
        """
        spans, unnumbered = defaultdict(list), {}
        for cohort in self.cohorts(source):
            if cohort.model is None or cohort.start == cohort.stop:
                unnumbered[cohort.drawn] = cohort.num_drawn
            else:
                spans[cohort.seed].append((cohort.start, cohort.stop))
        return sum(unnumbered.values()) + sum(_covered(found) for found in spans.values())

    def unspent(self, fold: str, subjects: Iterable[str], use: str) -> frozenset[str]:
        """Those of a fold's subjects that no other use has spent; the same use may look again."""
        spent = {
            subject
            for line in self.lines
            if line["kind"] == "spent" and line["fold"] == fold and line["use"] != use
            for subject in line["subjects"]
        }
        return frozenset(subjects) - spent


def read_history(ledger: Path, keys: Keys) -> History:
    """What a ledger holds; nothing where there is none. Raises where the chain is broken."""
    if not ledger.exists():
        return History()
    with open_journal(ledger) as file:
        return _read(file, keys)


def record_cohort(
    ledger: Path, keys: Keys, cohort: Cohort, beside: Iterable[Cohort] | None = None
) -> History:
    """Write that a cohort was judged; the same cohort with the same verdict is written once.

    Raises StaleInput where it was judged `beside` others than the earlier ones of today: another
    audit ended in the meantime.
    """
    with open_journal(ledger) as file:
        history = _read(file, keys)
        if cohort in history.cohorts(cohort.source):
            return history
        if beside is not None and set(beside) != set(history.earlier(cohort)):
            raise StaleInput(
                "another cohort of this generator was judged in the meantime, and both must be "
                "judged together: run the audit again"
            )
        return _add(file, history, keys, {"kind": "cohort", **asdict(cohort)})


def spend_fold(
    ledger: Path, keys: Keys, fold: str, subjects: Iterable[str], use: str
) -> frozenset[str]:
    """Write that a fold's subjects were used, and return those that were fresh for this use.

    `use` is the digest of what they were used for, as of the screen that a test fold checks: the
    same use finds the same subjects fresh again, any other one never does.
    """
    with open_journal(ledger) as file:
        history = _read(file, keys)
        fresh = history.unspent(fold, subjects, use)
        line = {"kind": "spent", "fold": fold, "use": use, "subjects": sorted(fresh)}
        known = [{name: old.get(name) for name in line} for old in history.lines]
        if fresh and line not in known:
            _add(file, history, keys, line)
        return fresh


def find_accepted(cohorts: Iterable[Cohort], folders: Iterable[Path]) -> Mapping[str, Path]:
    """Where accepted cohorts lie, by their Merkle root; what is not among `folders` is missing."""
    wanted = {cohort.accepted for cohort in cohorts}
    roots = {Manifest.read(folder).root: folder for folder in folders}
    return {root: roots[root] for root in wanted & set(roots)}


def _read(file: IO[str], keys: Keys) -> History:
    """The checked lines; a last one that a killed run left unfinished is cut off."""
    lines, before = [], _START
    for number, line in enumerate(read_whole_lines(file)):
        lines.append(_checked(line, number, before, keys))
        before = lines[-1]["digest"]
    return History(tuple(lines))


def _checked(text: str, number: int, before: str, keys: Keys) -> Line:
    try:
        line: Line = json.loads(text)
        holds = line["digest"] == _digest(line, keys) and line["before"] == before
        holds = holds and line["number"] == number
    except (ValueError, KeyError, TypeError):
        holds = False
    if not holds:
        raise MedsynthError(
            f"the judge's ledger must be as it was written; line {number + 1} is not: it was "
            "changed, or other keys wrote it"
        )
    return line


def _add(file: IO[str], history: History, keys: Keys, fields: Line) -> History:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    line = {**fields, "number": len(history.lines), "before": history.head, "at": at}
    line["digest"] = _digest(line, keys)
    file.write(json.dumps(line, sort_keys=True) + "\n")
    return History((*history.lines, line))


def _digest(line: Line, keys: Keys) -> str:
    return keys.digest("ledger", json_digest({k: v for k, v in line.items() if k != "digest"}))


def _is_same_audit(told: Cohort, cohort: Cohort) -> bool:
    return (told.drawn, told.policy) == (cohort.drawn, cohort.policy)


def _cohort(line: Line) -> Cohort:
    return Cohort(**{name: line[name] for name in Cohort.__dataclass_fields__})


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    """Integers in a union of half-open spans."""
    count, reached = 0, 0
    for start, stop in sorted(spans):
        count += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return count
