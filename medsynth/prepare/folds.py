"""Folds by person in an append-only ledger: nobody moves when data are added.

Subjects whom a review found to be one person share a fold. Where the ledger already holds them in
two, they stay there, and only those in the first of these folds are used.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medsynth.core.digest import json_digest
from medsynth.core.journal import open_journal
from medsynth.core.keys import Keys
from medsynth.core.manifest import FOLDS
from medsynth.prepare.config import PrepareConfig
from medsynth.prepare.ledger import add_lines, read_lines
from medsynth.prepare.people import People

Assigned = dict[str, str]


@dataclass(frozen=True)
class Folds:
    """Each used subject's fold, and what reviews say of who is who.

    `left_out` are subjects whose person stands in an earlier fold under another id.
    """

    folds: Mapping[str, str]
    people: People = field(default_factory=People)
    left_out: frozenset[str] = frozenset()

    def digest(self, name: str) -> str:
        """Digest of the ledger's lines for these subjects of this data set."""
        return json_digest([[name, s, self.folds[s]] for s in sorted(self.folds)])


def assign_folds(
    ledger: Path, name: str, subjects: Sequence[str], keys: Keys, config: PrepareConfig
) -> Folds:
    """The fold of each subject; those new to the data set are written into the ledger first."""
    with open_journal(ledger) as file:
        lines = read_lines(file, name)
        people = People.of(lines)
        known = {line["subject"]: line["fold"] for line in lines if "subject" in line}
        fresh = _place(known, subjects, people, name, keys, config)
        add_lines(file, [{"name": name, "subject": s, "fold": f} for s, f in fresh.items()])
    everybody = known | fresh
    first = _first_folds(everybody, people)
    used = {s for s in subjects if everybody[s] == first[people.person(s)]}
    return Folds({s: everybody[s] for s in sorted(used)}, people, frozenset(subjects) - used)


def _place(
    known: Assigned,
    subjects: Sequence[str],
    people: People,
    name: str,
    keys: Keys,
    config: PrepareConfig,
) -> Assigned:
    """New persons in the order of their keyed hash, each to the fold that misses most."""
    placed = _first_folds(known, people)
    new = sorted(set(subjects) - set(known), key=lambda s: keys.digest("fold", name, s))
    strangers = sorted(
        {people.person(s) for s in new} - set(placed),
        key=lambda person: keys.digest("fold", name, person),
    )
    missing = _missing(Counter(placed.values()), len(placed) + len(strangers), config)
    for person in strangers:
        placed[person] = max(missing, key=lambda fold: missing[fold])
        missing[placed[person]] -= 1
    return {subject: placed[people.person(subject)] for subject in new}


def _first_folds(assigned: Mapping[str, str], people: People) -> Assigned:
    """Each person's fold: the first of those that the ledger holds them in."""
    folds = defaultdict(set)
    for subject, fold in assigned.items():
        folds[people.person(subject)].add(fold)
    return {person: min(found, key=FOLDS.index) for person, found in folds.items()}


def _missing(present: Counter[str], total: int, config: PrepareConfig) -> dict[str, float]:
    """Persons that each fold still misses, in the order of the folds."""
    if config.folds_are_shares:
        wanted = {fold: config.folds.get(fold, 0.0) * total for fold in FOLDS}
        wanted = {fold: count for fold, count in wanted.items() if count > 0}
    else:
        wanted = {fold: config.folds.get(fold, 0.0) for fold in FOLDS}
        wanted["reserve"] += max(0.0, total - sum(wanted.values()))
    return {fold: count - present[fold] for fold, count in wanted.items()}
