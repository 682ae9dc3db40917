"""Multipart answers and single files, however the network cuts them."""

import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from medsynth.ingest.pacs.instance import read_instance, write_instance
from medsynth.ingest.pacs.multipart import boundary_of, parts
from medsynth.ingest.pacs.problems import RetrievalProblem

Make = Callable[..., list[Path]]
BOUNDARY = b"cut here"


def multipart(bodies: list[bytes], preamble: bytes = b"") -> bytes:
    head = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
    return preamble + b"".join(head + body + b"\r\n" for body in bodies) + b"--cut here--\r\n"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@settings(max_examples=80, deadline=None)
@given(
    bodies=st.lists(st.sampled_from([b"", b"\r\n", b"\r\n--cut her", b"--cut here", b"x" * 99])),
    size=st.integers(1, 40),
    preamble=st.sampled_from([b"", b"\r\n", b"ignored\r\n"]),
)
def test_parts_come_whole_however_they_are_cut(
    bodies: list[bytes], size: int, preamble: bytes
) -> None:
    found = parts(pieces(multipart(bodies, preamble), size), BOUNDARY)
    assert [b"".join(part) for part in found] == bodies


def test_a_part_that_is_not_read_is_skipped() -> None:
    data = multipart([b"first" * 50, b"2nd", b"third" * 50])
    assert [next(part)[:3] for part in parts(pieces(data, 100), BOUNDARY)] == [
        b"fir",
        b"2nd",
        b"thi",
    ]


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.99])
def test_an_answer_that_ends_early_is_broken_off(keep: float) -> None:
    data = multipart([b"first" * 50, b"second" * 50])
    with pytest.raises(RetrievalProblem, match="broken_off"):
        [list(part) for part in parts(pieces(data[: int(len(data) * keep)], 64), BOUNDARY)]


def test_a_boundary_is_found_with_and_without_quotes() -> None:
    assert boundary_of('multipart/related; type="application/dicom"; boundary="a b"') == b"a b"
    assert boundary_of("Multipart/Related;boundary=abc; type=x") == b"abc"
    with pytest.raises(RetrievalProblem, match="unreadable"):
        boundary_of("application/dicom")


def test_memory_does_not_grow_with_an_instance(tmp_path: Path, make_series: Make) -> None:
    (path,) = make_series(1)
    head = path.read_bytes()

    def stream() -> Iterator[bytes]:
        yield b"\r\n--cut here\r\n\r\n" + head
        for _ in range(64):
            yield bytes(1 << 20)
        yield b"\r\n--cut here--"

    tracemalloc.start()
    for part in parts(stream(), BOUNDARY):
        written = write_instance(tmp_path / "large", part, 1 << 30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written.size > 64 << 20
    assert peak < 8 << 20


def test_a_file_is_what_was_written(tmp_path: Path, make_series: Make) -> None:
    (path,) = make_series(1)
    written = write_instance(tmp_path / "new", pieces(path.read_bytes(), 100), 1 << 20)
    assert read_instance(tmp_path / "new") == written
    assert written.sha256 == hashlib.sha256((tmp_path / "new").read_bytes()).hexdigest()
    assert dcmread(tmp_path / "new") == dcmread(path)


@pytest.mark.parametrize("data", [b"", b"<html>" * 99, b"\0" * 128 + b"DICM", b"\0" * 128 + b"DIC"])
def test_what_is_no_dicom_file_is_unreadable(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(RetrievalProblem, match="unreadable"):
        write_instance(tmp_path / "new", [data], 1 << 20)


def test_a_header_with_a_false_length_is_unreadable(tmp_path: Path, make_series: Make) -> None:
    (path,) = make_series(1)
    whole = bytearray(path.read_bytes())
    for at in (139, 153, 165):  # high bytes of the lengths of the first three elements
        harmed = bytes(whole[:at]) + b"\xff" + bytes(whole[at + 1 :])
        with pytest.raises(RetrievalProblem, match="unreadable"):
            write_instance(tmp_path / "new", [harmed], 1 << 20)
