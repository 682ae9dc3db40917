"""Whatever is wrong with a file becomes one reason code, and nothing of it is told."""

import ast
import logging
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest import quarantine
from medsynth.ingest.hush import hushed
from medsynth.ingest.quarantine import Quarantine, read_quarantine, reason_of
from medsynth.ingest.reasons import FLAGS, LEFT_OUT, REASONS
from medsynth.ingest.sandbox import NoSandbox


def test_counts_survive_writing_and_reading(tmp_path):
    collected = Quarantine(DEMO_KEYS)
    collected.add("a", "index", "empty")
    collected.add([f"b{n}" for n in range(20)], "stack", "no_geometry")
    collected.add("c", "index", "empty")
    collected.write(tmp_path)
    assert read_quarantine(tmp_path) == {"empty": 2, "no_geometry": 20} == collected.counts()


def test_a_file_is_refused_once_and_for_the_first_reason():
    collected, worker = Quarantine(DEMO_KEYS), Quarantine(DEMO_KEYS)
    collected.add(["a", "b", "a"], "decode", "truncated")
    worker.add("a", "store", "duplicate")
    worker.add("c", "store", "duplicate")
    collected.extend(worker.refusals)
    assert collected.counts() == {"truncated": 2, "duplicate": 1}
    assert collected.count_among(["a", "c", "elsewhere"]) == 2


def test_an_empty_quarantine_is_a_table_too(tmp_path):
    Quarantine(DEMO_KEYS).write(tmp_path)
    assert read_quarantine(tmp_path) == {}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreadableScan("color"), "color"),
        (RecursionError(), "depth_limit"),
        (MemoryError(), "too_large"),
        (zlib.error(), "truncated"),
        (OSError("x"), "truncated"),
        (ValueError("Doe^Jane"), "otherwise"),
    ],
)
def test_only_the_type_of_an_exception_counts(error, reason):
    assert reason_of(error, "otherwise") == reason


def test_the_boundary_lets_the_work_go_on_and_names_nothing(tmp_path):
    collected = Quarantine(DEMO_KEYS)
    with collected.guard(["Doe/IM1", "2", "3"], "decode", otherwise="decode_failed"):
        raise KeyError("Doe^Jane")
    collected.write(tmp_path)
    assert read_quarantine(tmp_path) == {"decode_failed": 3}
    assert b"Doe" not in (tmp_path / "quarantine.parquet").read_bytes()


def test_readers_say_nothing_while_hushed(caplog, recwarn):
    reader = logging.getLogger("pydicom.some.part")
    with hushed():
        reader.error("Doe^Jane")
        warnings.warn("Doe^Jane", stacklevel=1)
    assert not caplog.records
    assert not recwarn.list
    reader.error("heard again")
    assert [record.message for record in caplog.records] == ["heard again"]


def raised_codes() -> Iterator[tuple[str, str]]:
    """(module, code) of every reason code that stands in the source of ingest."""
    for path in sorted(Path(quarantine.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                for code in _codes_of(node):
                    yield path.name, code


def _codes_of(call: ast.Call) -> list[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    where: list[ast.expr] = [key.value for key in call.keywords if key.arg == "otherwise"]
    if name == "UnreadableScan":
        where += call.args
    elif name == "add" and len(call.args) >= 3:
        where.append(call.args[2])
    branches = [n for e in where for n in ([e.body, e.orelse] if isinstance(e, ast.IfExp) else [e])]
    return [n.value for n in branches if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def test_every_code_that_is_raised_is_explained():
    codes = {code for _, code in raised_codes()} | {reason for _, reason in quarantine._REASONS}
    assert {"color", "too_large", "crashed", "duplicate"} <= codes
    assert sorted(codes - set(REASONS)) == []


def test_an_explanation_is_one_line():
    for words in (*REASONS.values(), *FLAGS.values(), *LEFT_OUT.values()):
        assert words
        assert "\n" not in words
        assert len(words) <= 100


def test_a_fault_that_no_file_is_to_blame_for_goes_through():
    collected = Quarantine(DEMO_KEYS)
    with pytest.raises(NoSandbox), collected.guard("a", "decode", otherwise="decode_failed"):
        raise NoSandbox
    assert collected.counts() == {}
