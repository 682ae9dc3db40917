"""What `medsynth ingest` tells a person and a script at the end."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from flows.account import account_line, account_tables
from flows.facts import Outcome
from flows.summary import ingest_answer
from medsynth.core.stage import open_stage
from medsynth.ingest.page.account import Account, Line, Missingness

FULL = Account(
    num_files=1_234_567,
    num_read=1_234_000,
    num_volumes=5_000,
    num_subjects=4_000,
    num_flagged=12,
    refused=(Line("unsupported_transfer_syntax", "a compression unknown here", 560, "decode"),),
    left_out=(Line("series_description", "its description was not asked for", 10),),
    not_found=3,
    flags=(Line("attribute_ambiguous:lesion_volume_mm3", "the sources disagree", 12),),
    modalities={"CT": 2_000, "MR": 3_000},
    attributes=(Missingness("lesion_volume_mm3", 100, 7, 5, 2, {"column": 4_900}),),
)


def shown(account: Account, width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(account_tables(account))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_their_width_and_no_code_is_broken(width: int) -> None:
    text = shown(FULL, width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("unsupported_transfer_syntax", "series_description", "1,234,567", "lesion_volume"):
        assert word in text


def test_counts_add_up_to_the_input_files() -> None:
    parts = "1,234,000 read + 560 refused + 10 left out"
    assert account_line(FULL).startswith(f"{parts} - 3 read in part = 1,234,567 input files")
    assert "3 unaccounted for" in account_line(replace(FULL, num_read=1_233_994))


def test_what_did_not_happen_has_no_table() -> None:
    empty = Account(0, 0, 0, 0, 0, (), (), 0, (), {}, ())
    assert "Repaired" not in shown(empty, 80)
    assert "Missing values" not in shown(empty, 80)
    assert account_line(empty) == "0 read + 0 refused + 0 left out = 0 input files"


def test_the_command_ends_with_what_became_of_every_file(
    server: str, archive: Path, tmp_path: Path
) -> None:
    source, table, out = archive / "dicom", archive / "clinical.csv", tmp_path / "out"
    arguments = ["ingest", str(source), str(out), "--attributes", str(table)]
    command = [sys.executable, "-m", "flows.cli", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    text = done.stdout
    assert max(map(len, text.splitlines()[:-2])) <= 80
    files = sum(path.is_file() for path in source.rglob("*"))
    total = re.search(r"(\d+) read \+ (\d+) refused \+ (\d+) left out = (\d+) input files", text)
    assert total
    *parts, all_files = map(int, total.groups())
    assert sum(parts) == all_files == files
    assert "60 volumes of 60 subjects: MR 60" in text
    page = Path(text.splitlines()[-1].removeprefix("page").strip())
    assert page == out / "manifest" / "ingest.html"
    assert page.is_file()
    again = Outcome((replace(open_stage(out / "manifest"), reused=True),))
    found = json.loads(ingest_answer(again).to_json(0.0, "ingest"))
    assert sum(found["quarantined"].values()) == parts[1]
    assert (found["reused"], found["num_volumes"], found["page"]) == (["manifest"], 60, str(page))
