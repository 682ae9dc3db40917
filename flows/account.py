"""What `medsynth ingest` tells a person at the end: every file's fate, repairs, what is missing."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from medsynth.ingest.page.account import Account, Line


def account_tables(account: Account) -> Group:
    """Tables that read well from 80 columns on and need no color; empty ones are left out."""
    tables: list[RenderableType] = [_files(account)]
    if account.flags:
        tables.append(_flags(account))
    if account.attributes:
        tables.append(_attributes(account))
    return Group(*tables)


def account_line(account: Account) -> str:
    """How the counts of files add up."""
    counts = (account.num_read, account.num_refused, account.num_left_out)
    parts = "{:,} read + {:,} refused + {:,} left out".format(*counts)
    if account.in_two_rows > 0:
        parts += f" - {account.in_two_rows:,} read in part"
    elif account.in_two_rows < 0:
        parts += f" + {-account.in_two_rows:,} unaccounted for"
    absent = f" (the table names {account.not_found:,} more)" if account.not_found else ""
    return f"{parts} = {account.num_files:,} input files{absent}"


def volumes_line(account: Account) -> str:
    """Volumes, subjects and modalities."""
    kinds = ", ".join(f"{name} {count:,}" for name, count in account.modalities.items())
    counts = f"{account.num_volumes:,} volumes of {account.num_subjects:,} subjects"
    return f"{counts}: {kinds}" if kinds else counts


def _files(account: Account) -> Table:
    table = _table("What became of the input files", "", "stage", "reason", "meaning", "files")
    table.add_row("read", "", "", "files that volumes were made of", f"{account.num_read:,}")
    _add(table, "refused", account.refused)
    _add(table, "left out", account.left_out)
    if account.in_two_rows:
        words = "parts read, parts refused" if account.in_two_rows > 0 else "unaccounted for"
        table.add_row("", "", "", words, f"{-account.in_two_rows:,}")
    table.add_section()
    table.add_row("together", "", "", "", f"{account.num_files:,}")
    return table


def _add(table: Table, name: str, lines: Sequence[Line]) -> None:
    for number, line in enumerate(lines):
        first = "" if number else name
        table.add_row(first, line.stage, line.code, line.words, f"{line.count:,}")


def _flags(account: Account) -> Table:
    title = f"Repaired or assumed, in {account.num_flagged:,} of {account.num_volumes:,} volumes"
    table = _table(title, "flag", "meaning", "volumes")
    for line in account.flags:
        table.add_row(line.code, line.words, f"{line.count:,}")
    return table


def _attributes(account: Account) -> Table:
    table = _table("Missing values", "attribute", "share", *_STATES)
    for one in account.attributes:
        share = f"{one.missing / max(account.num_volumes, 1):.0%}"
        counts = (one.missing, one.refused, one.ambiguous, one.conflicting)
        table.add_row(one.name, share, *(f"{count:,}" for count in counts))
    return table


_CODES = ("stage", "reason")
_STATES = ("missing", "refused", "ambiguous", "conflict")
_NUMBERS = ("files", "volumes", "share", *_STATES)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in columns:
        if name in _NUMBERS:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold", no_wrap=name in _CODES)
    return table
