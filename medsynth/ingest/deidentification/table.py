"""PS3.15 Table E.1-1 as data: what is done to a listed attribute under a profile.

Editions: basic profile 2026c, option columns 2024e; NOTICE says where they come from.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files

from pydicom.tag import BaseTag

from medsynth.ingest.deidentification.options import Option, Profile

EDITION = "2026c"
_DATE_OPTIONS = (Option.FULL_DATES, Option.MODIFIED_DATES)


class Action(StrEnum):
    """What becomes of an attribute's value; the letters of Table E.1-1a."""

    REPLACE = "D"
    BLANK = "Z"
    REMOVE = "X"
    KEEP = "K"
    CLEAN = "C"
    UID = "U"


@dataclass(frozen=True)
class Row:
    """One attribute of the table: its basic action and the options that change it."""

    name: str
    basic: str
    columns: Mapping[Option, Action]


@cache
def read_rows() -> Mapping[str, Row]:
    """Rows by tag, eight hex digits; x stands for any digit of a repeating group."""
    text = files("medsynth.ingest.deidentification").joinpath("table.csv").read_text()
    return {row["tag"]: _row(row) for row in csv.DictReader(text.splitlines())}


def _row(row: Mapping[str, str]) -> Row:
    columns = {option: Action(row[option]) for option in Option if row[option]}
    return Row(row["name"], row["basic"], columns)


def listed_action(tag: BaseTag, profile: Profile, kind: str, *, is_date: bool) -> Action | None:
    """What the profile does to an attribute of type `kind`; None where the table is silent.

    A date follows the date options alone: to retain a device is not to retain when it was used.
    """
    row = read_rows().get(f"{tag:08X}")
    if row is None:
        return None
    chosen = {
        action
        for option, action in row.columns.items()
        if profile.has(option) and (not is_date or option in _DATE_OPTIONS)
    }
    if Action.CLEAN in chosen or Action.KEEP in chosen:
        return Action.CLEAN if Action.CLEAN in chosen else Action.KEEP
    return resolve(row.basic, kind)


def resolve(basic: str, kind: str) -> Action:
    """The strictest action of a cell such as X/Z/D that the IOD's type allows (E.1, Table E.1-1a).

    X/Z/U* becomes U: a sequence of references is kept, with its UIDs replaced.
    """
    if "U" in basic:
        return Action.UID
    choices = basic.split("/")
    if choices == ["X"]:
        return Action.REMOVE
    if kind in ("1", "1C") or choices == ["D"]:
        return Action.REPLACE
    if kind in ("2", "2C"):
        return Action.BLANK if "Z" in choices else Action.REPLACE
    return Action(choices[0])
