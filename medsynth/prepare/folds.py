"""Folds by subject in an append-only ledger: nobody moves when data are added.

A ledger is a file of JSON lines {"name", "subject", "fold"}, one per subject of a data set, in
the order in which they were assigned.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from medsynth.core.digest import json_digest
from medsynth.core.errors import MedsynthError
from medsynth.core.keys import Keys
from medsynth.core.manifest import FOLDS
from medsynth.prepare.config import PrepareConfig

Assigned = dict[str, str]


def assign_folds(
    ledger: Path, name: str, subjects: Sequence[str], keys: Keys, config: PrepareConfig
) -> Assigned:
    """The fold of each subject; those new to the data set are written into the ledger first."""
    ledger.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(ledger, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = _read(file, name)
        fresh = _place(known, subjects, name, keys, config)
        for subject, fold in fresh.items():
            line = {"fold": fold, "name": name, "subject": subject}
            file.write(json.dumps(line, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    everybody = known | fresh
    return {subject: everybody[subject] for subject in sorted(subjects)}


def folds_digest(name: str, assigned: Mapping[str, str]) -> str:
    """Digest of the ledger's lines for these subjects of this data set."""
    return json_digest([[name, subject, assigned[subject]] for subject in sorted(assigned)])


def _read(file: IO[str], name: str) -> Assigned:
    """The data set's subjects; a last line that a killed run left unfinished is cut off."""
    text = file.read()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        file.seek(0)
        file.truncate(len(whole.encode()))
    file.seek(0, os.SEEK_END)
    return dict(_entry(line) for line in whole.splitlines() if _name(line) == name)


def _name(line: str) -> str:
    try:
        return str(json.loads(line)["name"])
    except (ValueError, KeyError, TypeError):
        raise MedsynthError("the fold ledger is damaged; restore it from a copy") from None


def _entry(line: str) -> tuple[str, str]:
    fields = json.loads(line)
    if fields.get("fold") not in FOLDS or "subject" not in fields:
        raise MedsynthError("the fold ledger is damaged; restore it from a copy")
    return str(fields["subject"]), str(fields["fold"])


def _place(
    known: Assigned, subjects: Sequence[str], name: str, keys: Keys, config: PrepareConfig
) -> Assigned:
    """New subjects in the order of their keyed hash, each to the fold that misses most."""
    new = sorted(set(subjects) - set(known), key=lambda s: keys.digest("fold", name, s))
    missing = _missing(Counter(known.values()), len(known) + len(new), config)
    placed = {}
    for subject in new:
        placed[subject] = max(missing, key=lambda fold: missing[fold])
        missing[placed[subject]] -= 1
    return placed


def _missing(present: Counter[str], total: int, config: PrepareConfig) -> dict[str, float]:
    """Subjects that each fold still misses, in the order of the folds."""
    if config.folds_are_shares:
        wanted = {fold: config.folds.get(fold, 0.0) * total for fold in FOLDS}
        wanted = {fold: count for fold, count in wanted.items() if count > 0}
    else:
        wanted = {fold: config.folds.get(fold, 0.0) for fold in FOLDS}
        wanted["reserve"] += max(0.0, total - sum(wanted.values()))
    return {fold: count - present[fold] for fold, count in wanted.items()}
