"""A verdict on the terminal: every gate's row, and in words what stands between it and a PASS."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Rows = Sequence[Mapping[str, Any]]
_COLORS = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow", "NOT_RUN": "dim"}
_SIGNS = {"below": "≤", "above": "≥"}


def verdict_color(word: str | None) -> str:
    """The color of a verdict or of a row's result."""
    return _COLORS.get(word or "", "yellow")


def gate_table(audit: Mapping[str, Any]) -> Table:
    """Every row, below the name of its gate."""
    title = f"{audit['verdict']} under the policy {audit['policy']}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), title_style="bold")
    for name in ("gate", "estimate", "95 % bounds", "n", "limit", "result"):
        is_word = name in ("gate", "result")
        table.add_column(name, justify="left" if is_word else "right", no_wrap=not is_word)
    shown = ""
    for row in audit["gates"]:
        if row["gate"] != shown:
            table.add_row(Text(_words(row["gate"]), style="bold"))
        shown = row["gate"]
        table.add_row(*_cells(row))
    return table


def _cells(row: Mapping[str, Any]) -> tuple[str | Text, ...]:
    limit = f"{_SIGNS[row['side']]} {_short(row['limit'])}"
    result = Text(_words(row["result"]), style=verdict_color(row["result"]))
    kind = Text(f"  {_words(row['kind'])}")
    if row["result"] == "NOT_RUN":
        return kind, "", "", "", limit, result
    bounds = "" if row["low"] is None else f"{_short(row['low'])} to {_short(row['high'])}"
    return kind, _short(row["estimate"]), bounds, f"{row['n']:,}", limit, result


def reason_group(gates: Rows) -> Group:
    """Why it is not a PASS: FAIL first; kinds of one gate that share a reason share it here."""
    found = sorted(_grouped(gates), key=lambda told: told[0] != "FAIL")
    parts: list[Text | Padding] = []
    for result, what, why in found:
        head = Text(f"{_words(result)}  ", style=verdict_color(result)).append(what, style="bold")
        parts += [head, Padding(Text(why), (0, 0, 0, 4))]
    return Group(*parts)


def ledger_line(audit: Mapping[str, Any]) -> str:
    """What the ledger adds to a verdict."""
    told = audit["ledger"]
    count, missing = told["num_earlier_cohorts"], told["num_earlier_missing"]
    drawn = f"ledger   {told['num_drawn']:,} scans of this generator judged so far"
    if not count:
        return f"{drawn}; no earlier cohort of it may have left"
    cohorts = "1 earlier cohort" if count == 1 else f"{count} earlier cohorts"
    beside = f"{told['num_earlier_scans']:,} scans of {cohorts} were judged with these"
    return f"{drawn}; {beside}" + (f", {missing} of them missing" if missing else "")


def _grouped(gates: Rows) -> list[tuple[str, str, str]]:
    """(result, gate with its kinds, reason)."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for row in gates:
        if row["result"] != "PASS":
            key = (row["result"], row["gate"], row["reason"])
            kinds.setdefault(key, []).append(_words(row["kind"]))
    return [
        (result, f"{_words(gate)} ({', '.join(of)})", why)
        for (result, gate, why), of in kinds.items()
    ]


def _words(name: str) -> str:
    return {"NOT_RUN": "not run"}.get(name, name.replace("_", " "))


def _short(value: float | None) -> str:
    """Three decimals that matter; a share just below one is never shown as one."""
    if value is None:
        return ""
    if value == 0 or 0.001 <= abs(value) <= 0.999 or 1 <= abs(value) < 10:
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:.1g}" if abs(value) < 0.001 else f"{value:.4g}"
