"""multipart/related answers as a stream of streams (RFC 2046, section 5.1; PS3.18, section 8.6).

Constant memory: never more than one chunk and one delimiter is held, however large a part is.
"""

import re
from collections.abc import Iterator

from medsynth.ingest.pacs.problems import RetrievalProblem

_MOST_HEADER_BYTES = 1 << 16


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; raises RetrievalProblem where there is none."""
    found = re.search(r'boundary\s*=\s*(?:"([^"]+)"|([^\s;,"]+))', content_type, re.IGNORECASE)
    if not content_type.lower().startswith("multipart/") or found is None:
        raise RetrievalProblem("unreadable")
    return (found[1] or found[2]).encode("ascii", "replace")


def parts(chunks: Iterator[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """Body of each part in chunks; what a caller leaves unread of a part is skipped."""
    delimiter = b"\r\n--" + boundary
    reader = _Reader(chunks)
    _skip(reader.until(delimiter))
    while not reader.begins_with(b"--"):
        _skip(reader.until(b"\r\n\r\n"), _MOST_HEADER_BYTES)
        body = reader.until(delimiter)
        yield body
        _skip(body)


def _skip(chunks: Iterator[bytes], limit: int | None = None) -> None:
    skipped = 0
    for chunk in chunks:
        skipped += len(chunk)
        if limit is not None and skipped > limit:
            raise RetrievalProblem("unreadable")


class _Reader:
    """Chunks of any size, cut at marks that may lie across two of them."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b"\r\n"  # the first delimiter may stand at the very start

    def begins_with(self, mark: bytes) -> bool:
        """Whether the next bytes are these; they are not consumed."""
        while len(self._held) < len(mark):
            self._held += self._next()
        return self._held.startswith(mark)

    def until(self, mark: bytes) -> Iterator[bytes]:
        """Everything before the mark, which is consumed."""
        while (at := self._held.find(mark)) < 0:
            # A mark may have begun in the last bytes: these wait for the next chunk.
            ready = len(self._held) - len(mark) + 1
            if ready > 0:
                chunk, self._held = self._held[:ready], self._held[ready:]
                yield chunk
            self._held += self._next()
        chunk, self._held = self._held[:at], self._held[at + len(mark) :]
        if chunk:
            yield chunk

    def _next(self) -> bytes:
        for chunk in self._chunks:
            if chunk:
                return chunk
        raise RetrievalProblem("broken_off")
