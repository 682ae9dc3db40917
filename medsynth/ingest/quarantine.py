"""What could not be read: our own id, a stage, a reason code and a count; nothing else is kept.

The text of an exception may hold element values of a patient (pydicom's does), so it is never
looked at: only the exception's type is turned into a reason.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from nibabel.filebasedimages import ImageFileError
from pydicom.errors import BytesLengthException, InvalidDicomError

from medsynth.core.errors import MedsynthError, UnreadableScan
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


@dataclass(frozen=True, order=True)
class Refusal:
    """`count` files that were refused at a stage of the work, under our own id."""

    reason: str
    keyed_id: str
    stage: str
    count: int


class Quarantine:
    """Collects the files that were refused."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._refusals: list[Refusal] = []

    @property
    def refusals(self) -> Sequence[Refusal]:
        """What was refused so far; it can be pickled, and holds no secret."""
        return tuple(self._refusals)

    def extend(self, refusals: Sequence[Refusal]) -> None:
        """Take over what a worker refused."""
        self._refusals.extend(refusals)

    def add(self, name: str, stage: str, reason: str, count: int = 1) -> None:
        """Refuse `count` files; `name` (a relative path or UID) is kept as a keyed id alone."""
        keyed_id = f"file-{self._keys.digest('file', name)[:16]}"
        self._refusals.append(Refusal(reason, keyed_id, stage, count))

    @contextmanager
    def guard(self, name: str, stage: str, *, otherwise: str, count: int = 1) -> Iterator[None]:
        """The one boundary: whatever goes wrong inside is counted here, and the work goes on.

        Errors of ours that no file is to blame for (no sandbox, a wrong call) go through.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, MedsynthError) and not isinstance(error, UnreadableScan):
                raise
            self.add(name, stage, reason_of(error, otherwise), count)

    def counts(self) -> dict[str, int]:
        """Files refused, by reason."""
        return _counts(self._refusals)

    def write(self, folder: Path) -> None:
        """Write quarantine.parquet into a stage folder."""
        text = [(name, pa.string()) for name in ("keyed_id", "stage", "reason")]
        schema = pa.schema([*text, ("count", pa.int64())])
        rows = [asdict(refusal) for refusal in sorted(self._refusals)]
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / FILE_NAME)


def read_quarantine(folder: Path) -> dict[str, int]:
    """Files refused, by reason, of a manifest stage."""
    return _counts([Refusal(**row) for row in pq.read_table(folder / FILE_NAME).to_pylist()])


def _counts(refusals: Sequence[Refusal]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for refusal in refusals:
        counts[refusal.reason] += refusal.count
    return dict(sorted(counts.items()))
