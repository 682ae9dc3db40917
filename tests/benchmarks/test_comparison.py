from pathlib import Path

import pytest
import torch

from benchmarks import comparison
from benchmarks.comparison import Gate, Result, write_section
from benchmarks.roofline import Machine

SLOW = Machine(fp32=10.0, bf16=20.0, copy=4.0)


def test_a_row_tells_the_median_ratio_its_range_and_the_share_of_the_limit() -> None:
    row = Result("read", [6.0, 8.0, 20.0], [2.0, 2.0, 2.0], goal=3, limit=1.0).row
    assert row == "| read | 4 (3 to 10, 3) | >= 3 | 8, 2 | 50% | - |"


def test_a_missed_goal_and_a_broken_gate_stand_in_the_row() -> None:
    row = Result("read", [2.0], [1.0], 3, None, (Gate("error", 0.2, 0.1), Gate("loss", 1, 1))).row
    assert ">= 3 missed" in row
    assert "error 0.2 (at most 0.1) FAILS; loss 1 (at most 1) |" in row


def test_a_broken_gate_ends_the_process_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x.py"])
    for value, code in ((0.0, 0), (2.0, 1)):
        result = Result("read", [2.0], [1.0], gates=(Gate("error", value, 1.0),))
        with pytest.raises(SystemExit) as ended:
            comparison.tell("A title", [result], SLOW, (), write=False)
        assert ended.value.code == code


def test_a_section_is_replaced_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(comparison, "PAGE", page)
    for text in ("## One\n\nold\n", "## Two\n\nkept\n", "## One\n\nnew\n"):
        write_section(text.split("\n")[0][3:], text)
    assert page.read_text() == "# Speed of the generator\n\n## Two\n\nkept\n\n## One\n\nnew\n"


def test_the_limit_is_the_slower_of_computing_and_copying() -> None:
    assert SLOW.limit(40, torch.float32) == 4
    assert SLOW.limit(40, torch.bfloat16) == 2
    assert SLOW.limit(40, torch.bfloat16, num_bytes=12) == 3
