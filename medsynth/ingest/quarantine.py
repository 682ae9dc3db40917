"""What could not be read: our own id, a stage, a reason code and a count; nothing else is kept.

The text of an exception may hold element values of a patient (pydicom's does), so it is never
looked at: only the exception's type is turned into a reason.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from nibabel.filebasedimages import ImageFileError
from pydicom.errors import BytesLengthException, InvalidDicomError

from medsynth.core.errors import UnreadableScan
from medsynth.core.keys import Keys

FILE_NAME = "quarantine.parquet"
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (RecursionError, "depth_limit"),
    (MemoryError, "too_large"),
    (InvalidDicomError, "not_dicom"),
    (BytesLengthException, "bad_element"),
    (ImageFileError, "not_an_image"),
    (NotImplementedError, "unsupported_transfer_syntax"),
    (EOFError, "truncated"),
    (zlib.error, "truncated"),
    (gzip.BadGzipFile, "truncated"),
    (OSError, "truncated"),
)


def reason_of(error: Exception, otherwise: str) -> str:
    """The reason code of an exception; its text is never read."""
    if isinstance(error, UnreadableScan):
        return error.reason
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), otherwise)


class Quarantine:
    """Collects the files that were refused."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._rows: list[dict[str, str | int]] = []

    def add(self, name: str, stage: str, reason: str, count: int = 1) -> None:
        """Refuse `count` files; `name` (a relative path or UID) is kept as a keyed id alone."""
        keyed_id = f"file-{self._keys.digest('file', name)[:16]}"
        self._rows.append({"keyed_id": keyed_id, "stage": stage, "reason": reason, "count": count})

    @contextmanager
    def guard(self, name: str, stage: str, *, otherwise: str, count: int = 1) -> Iterator[None]:
        """The one boundary: whatever goes wrong inside is counted here, and the work goes on."""
        try:
            yield
        except Exception as error:
            self.add(name, stage, reason_of(error, otherwise), count)

    def counts(self) -> dict[str, int]:
        """Files refused, by reason."""
        return _counts(self._rows)

    def write(self, folder: Path) -> None:
        """Write quarantine.parquet into a stage folder."""
        text = [(name, pa.string()) for name in ("keyed_id", "stage", "reason")]
        schema = pa.schema([*text, ("count", pa.int64())])
        rows = sorted(self._rows, key=lambda row: (str(row["reason"]), str(row["keyed_id"])))
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / FILE_NAME)


def read_quarantine(folder: Path) -> dict[str, int]:
    """Files refused, by reason, of a manifest stage."""
    return _counts(pq.read_table(folder / FILE_NAME).to_pylist())


def _counts(rows: list[dict[str, str | int]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[str(row["reason"])] += int(row["count"])
    return dict(sorted(counts.items()))
