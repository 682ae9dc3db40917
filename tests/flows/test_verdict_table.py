"""A verdict is readable on a terminal of a hundred columns, and of eighty."""

from io import StringIO

import pytest
from rich.console import Console, Group

from flows.verdict_table import gate_table, ledger_line, reason_group
from privacy.gates.every import all_terms
from privacy.gates.term import not_run
from privacy.policy import read_policy

REASON = "not run: this needs a way into the generator; hand in its checkpoint, " * 2
LEDGER = {
    "num_drawn": 1600,
    "num_earlier_cohorts": 2,
    "num_earlier_missing": 1,
    "num_earlier_scans": 295,
}


def audit(name: str) -> dict:
    """An audit of which nothing was run but the power."""
    rows = [
        not_run(*key, term, REASON).to_json() for key, term in all_terms(read_policy(name)).items()
    ]
    done = {"estimate": 0.9996, "low": 0.99, "high": 1.0, "n": 15960, "result": "PASS"}
    rows = [{**row, **done} if row["gate"] == "screen_power" else row for row in rows]
    return {"verdict": "INCONCLUSIVE", "policy": name, "gates": rows, "ledger": LEDGER}


def shown(name: str, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    found = audit(name)
    console.print(Group(gate_table(found), reason_group(found["gates"])))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


@pytest.mark.parametrize("name", ["demo", "pilot", "research", "research_model", "strict"])
def test_every_row_stands_on_a_line_of_its_own(name: str) -> None:
    lines = shown(name, 100)
    rows = audit(name)["gates"]
    assert max(map(len, lines)) <= 100
    for row in rows:
        kind = f"  {row['kind'].replace('_', ' ')}  "
        result = "PASS" if row["result"] == "PASS" else "not run"
        assert any(kind in line and line.rstrip().endswith(result) for line in lines), kind


def test_numbers_are_told_so_that_almost_is_not_all() -> None:
    (line,) = [line for line in shown("demo", 100) if line.startswith("    exact")]
    assert "0.9996" in line
    assert "0.99 to 1" in line
    assert "15,960" in line


def test_kinds_that_share_a_reason_share_it_on_the_terminal() -> None:
    lines = shown("research", 100)
    assert "not run  membership (auc, worst stratum, tpr 1)" in [line.rstrip() for line in lines]
    assert not any(line.startswith("not run  screen power (") for line in lines)


def test_eighty_columns_hold_it_too() -> None:
    assert max(map(len, shown("strict", 80))) <= 80


def test_the_ledgers_line_counts() -> None:
    line = ledger_line(audit("demo"))
    assert "1,600 scans of this generator" in line
    assert "295 scans of 2 earlier cohorts were judged with these, 1 of them missing" in line
    alone = {**LEDGER, "num_earlier_cohorts": 0}
    assert "no earlier cohort" in ledger_line({"ledger": alone})
