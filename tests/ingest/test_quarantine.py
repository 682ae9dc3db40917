"""Whatever is wrong with a file becomes one reason code, and nothing of it is told."""

import logging
import warnings
import zlib

import pytest

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import DEMO_KEYS
from medsynth.ingest.deidentify import hushed
from medsynth.ingest.quarantine import Quarantine, read_quarantine, reason_of


def test_counts_survive_writing_and_reading(tmp_path):
    quarantine = Quarantine(DEMO_KEYS)
    quarantine.add("a", "index", "empty")
    quarantine.add("b", "stack", "no_geometry", 20)
    quarantine.add("c", "index", "empty")
    quarantine.write(tmp_path)
    assert read_quarantine(tmp_path) == {"empty": 2, "no_geometry": 20} == quarantine.counts()


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
    quarantine = Quarantine(DEMO_KEYS)
    with quarantine.guard("Doe/IM1", "decode", otherwise="decode_failed", count=3):
        raise KeyError("Doe^Jane")
    quarantine.write(tmp_path)
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
