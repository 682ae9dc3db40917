"""The bytes of a plain or gzipped file, front to back, straight into memory set aside for them.

Nothing is inflated beyond what is asked for, so a bomb costs no more than the image it claims to
be. Members of a gzip file follow each other as one stream; checksums are checked.
Source: RFC 1952 (gzip), RFC 1951 (deflate).
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from isal import igzip_lib, isal_zlib

from medsynth.core.errors import UnreadableScan

MOST_EXPANSION = 1032  # bytes that one deflated byte can become (RFC 1951: 258 bytes in 2 bits)
_BROKEN: Any = (igzip_lib.IsalError, zlib.error)
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's name for a gzip header and trailer
_READ = 1 << 16  # bytes of the file at a time, and
_STEP = 1 << 15  # bytes inflated at a time: both stay in the processor's cache


class Bytes:
    """A stream of bytes that can only go forward."""

    def __init__(self, handle: FileIO) -> None:
        self._handle = handle
        self._waiting = handle.read(_READ)
        self.is_gzip = self._waiting.startswith(_GZIP)
        self._inflater: Any = isal_zlib.decompressobj(_GZIP_WINDOW) if self.is_gzip else None

    def read_into(self, target: memoryview) -> None:
        """Fill `target`, a view of bytes; raises UnreadableScan("truncated") where too few come."""
        at = 0
        while at < len(target):
            at += (count := self._some_into(target[at:]))
            if not count:
                raise UnreadableScan("truncated")

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        data = bytearray(count)
        self.read_into(memoryview(data))
        return bytes(data)

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        spare = memoryview(bytearray(min(count, _READ)))
        while count:
            part = spare[:count]
            self.read_into(part)
            count -= len(part)

    @property
    def has_garbage(self) -> bool:
        """Whether something that is no gzip member follows the last one, once that was read."""
        return self.is_gzip and self._inflater.eof and bool(self._waiting.strip(b"\0"))

    def num_left(self, most: int) -> int:
        """How many bytes still come, counted up to `most`; at the end the checksum was right."""
        count = 0
        while count <= most and (piece := self._some(_STEP)):
            count += len(piece)
        return count

    def _some_into(self, target: memoryview) -> int:
        if self._inflater is None and not self._waiting:
            return self._handle.readinto(target)
        piece = self._some(len(target))
        target[: len(piece)] = piece
        return len(piece)

    def _some(self, most: int) -> bytes:
        """At least one and at most `most` bytes; none at the end."""
        if self._inflater is None:
            data = self._waiting[:most] or self._handle.read(min(most, _READ))
            self._waiting = self._waiting[most:]
            return data
        while not (self._inflater.eof and self._is_over()):
            self._waiting = self._waiting or self._handle.read(_READ)
            at_end = not self._waiting
            if piece := self._inflated(min(most, _STEP)):
                return piece
            if at_end and not self._inflater.eof:
                raise UnreadableScan("truncated")
        return b""

    def _inflated(self, most: int) -> bytes:
        try:
            piece: bytes = self._inflater.decompress(self._waiting, most)
        except _BROKEN:
            raise UnreadableScan("decode_failed") from None
        self._waiting = b"" if self._inflater.eof else self._inflater.unconsumed_tail
        return piece

    def _is_over(self) -> bool:
        """Whether no member follows the one that ended; anything else that does is left alone."""
        self._waiting = self._inflater.unused_data or self._handle.read(_READ)
        if not self._waiting.startswith(_GZIP):
            return True
        self._inflater = isal_zlib.decompressobj(_GZIP_WINDOW)
        return False


@contextmanager
def open_bytes(path: Path) -> Iterator[Bytes]:
    """The bytes of a file, inflated where it is gzipped."""
    with FileIO(path) as handle:
        yield Bytes(handle)
