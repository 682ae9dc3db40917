"""Who is the same person under two subject ids: what a reviewer said of pairs, before folds.

A review is a CSV file with the columns `one`, `other` (our keyed subject ids) and `verdict`:
"same", "different", or empty where the reviewer could not tell. Nothing is merged without one.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medsynth.core.digest import json_digest
from medsynth.core.errors import UsageProblem
from medsynth.core.journal import open_journal
from medsynth.prepare.ledger import Line, add_lines, read_lines

VERDICTS = ("same", "different", "")
COLUMNS = ("pair", "one", "other", "verdict")

Pair = tuple[str, str]


@dataclass(frozen=True)
class Review:
    """A reviewer's word on pairs of subject ids; an open pair stands in neither set."""

    same: frozenset[Pair] = frozenset()
    different: frozenset[Pair] = frozenset()

    def __post_init__(self) -> None:
        persons = merged(self.same)
        if any(persons.get(a, a) == persons.get(b, b) for a, b in self.different):
            raise UsageProblem(
                "a review must not contradict itself: a pair is called different whose ids other "
                "pairs make the same person"
            )

    @property
    def subjects(self) -> frozenset[str]:
        """Every subject id that was judged."""
        return frozenset(subject for pair in self.same | self.different for subject in pair)

    @property
    def line(self) -> Line:
        """What a ledger keeps of it."""
        said = {
            "same": sorted(map(list, self.same)),
            "different": sorted(map(list, self.different)),
        }
        return {**said, "review": json_digest(said)}


@dataclass(frozen=True)
class People:
    """What all reviews of a data set say together."""

    same: frozenset[Pair] = frozenset()
    num_reviews: int = 0
    persons: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "persons", merged(self.same))

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "People":
        """From a ledger's lines; of two reviews of one pair the later one holds."""
        reviews = [line for line in lines if "review" in line]
        word: dict[Pair, str] = {}
        for review in reviews:
            for verdict in ("same", "different"):
                word |= {_ordered(*pair): verdict for pair in review[verdict]}
        same = frozenset(pair for pair, verdict in word.items() if verdict == "same")
        return cls(same, len(reviews))

    @property
    def digest(self) -> str:
        """Digest of who is merged; another one where nobody ever looked."""
        return json_digest([sorted(map(list, self.same)), self.num_reviews > 0])

    def person(self, subject: str) -> str:
        """The id that a subject's person goes by: the smallest of all their ids."""
        return self.persons.get(subject, subject)


def merged(same: Iterable[Pair]) -> dict[str, str]:
    """Each subject's person: the smallest id that a chain of pairs connects it with."""
    groups: dict[str, set[str]] = {}
    for one, other in same:
        group = groups.get(one, {one}) | groups.get(other, {other})
        groups |= dict.fromkeys(group, group)
    return {subject: min(group) for subject, group in groups.items()}


def read_review(path: Path) -> Review:
    """The review that a person filled in; raises UsageProblem where a row says nothing known."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UsageProblem("the review must be a CSV file; found none there") from None
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    said: dict[Pair, str] = {}
    for number, row in enumerate(rows, 2):
        pair, verdict = _judged(row, number)
        if said.setdefault(pair, verdict) != verdict:
            raise UsageProblem(f"line {number} of the review must agree with an earlier one")
    sets = {word: frozenset(p for p, v in said.items() if v == word) for word in VERDICTS}
    return Review(sets["same"], sets["different"])


def record_review(ledger: Path, name: str, review: Review, subjects: Iterable[str]) -> None:
    """Write a review into the fold ledger, once; raises UsageProblem where it is of other scans."""
    with open_journal(ledger) as file:
        lines = read_lines(file, name)
        known = {*subjects, *(line["subject"] for line in lines if "subject" in line)}
        strangers = len(review.subjects - known)
        if strangers:
            raise UsageProblem(
                f"the review names {strangers} subjects that this data set does not hold; "
                "hand in the pairs.csv that `medsynth people` wrote for it"
            )
        last = next((line for line in reversed(lines) if "review" in line), {"review": ""})
        if last["review"] != review.line["review"]:
            add_lines(file, [{"name": name, **review.line}])


def reviewed_people(ledger: Path, name: str) -> People:
    """What the fold ledger's reviews say of a data set; nothing where there is no ledger."""
    if not ledger.exists():
        return People()
    with open_journal(ledger) as file:
        return People.of(read_lines(file, name))


def _judged(row: Mapping[str, str | None], number: int) -> tuple[Pair, str]:
    one, other = ((row.get(name) or "").strip() for name in ("one", "other"))
    verdict = (row.get("verdict") or "").strip().lower()
    if not one or not other or one == other or verdict not in VERDICTS:
        raise UsageProblem(
            f"line {number} of the review must name two subject ids and a verdict: same, "
            "different, or nothing"
        )
    return _ordered(one, other), verdict


def _ordered(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)
