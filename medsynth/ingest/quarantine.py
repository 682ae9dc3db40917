"""What could not be read: our own id, a stage, a reason code and a count; nothing else is kept.

The text of an exception may hold element values of a patient (pydicom's does), so it is never
looked at: only the exception's type is turned into a reason.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
    """A file that was refused at a stage of the work, under our own id; `count` is 1."""

    reason: str
    keyed_id: str
    stage: str
    count: int = 1


class Quarantine:
    """Collects the files that were refused, each once and for the first reason found."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._refusals: dict[str, Refusal] = {}

    @property
    def refusals(self) -> Sequence[Refusal]:
        """What was refused so far; it can be pickled, and holds no secret."""
        return tuple(self._refusals.values())

    def extend(self, refusals: Sequence[Refusal]) -> None:
        """Take over what a worker refused."""
        for refusal in refusals:
            self._refusals.setdefault(refusal.keyed_id, refusal)

    def add(self, names: str | Sequence[str], stage: str, reason: str) -> None:
        """Refuse one or several files; names (relative paths) are kept as keyed ids alone."""
        for name in (names,) if isinstance(names, str) else names:
            keyed_id = self._keyed_id(name)
            self._refusals.setdefault(keyed_id, Refusal(reason, keyed_id, stage))

    def count_among(self, names: Iterable[str]) -> int:
        """How many of these files are refused."""
        return sum(self._keyed_id(name) in self._refusals for name in names)

    def _keyed_id(self, name: str) -> str:
        return f"file-{self._keys.digest('file', name)[:16]}"

    @contextmanager
    def guard(self, names: str | Sequence[str], stage: str, *, otherwise: str) -> Iterator[None]:
        """The one boundary: whatever goes wrong inside is counted here, and the work goes on.

        Errors of ours that no file is to blame for (no sandbox, a wrong call) go through.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, MedsynthError) and not isinstance(error, UnreadableScan):
                raise
            self.add(names, stage, reason_of(error, otherwise))

    def counts(self) -> dict[str, int]:
        """Files refused, by reason."""
        return _counts(self.refusals)

    def write(self, folder: Path) -> None:
        """Write quarantine.parquet into a stage folder."""
        text = [(name, pa.string()) for name in ("keyed_id", "stage", "reason")]
        schema = pa.schema([*text, ("count", pa.int64())])
        rows = [asdict(refusal) for refusal in sorted(self.refusals)]
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / FILE_NAME)


def read_quarantine(folder: Path) -> dict[str, int]:
    """Files refused, by reason, of a manifest stage."""
    return _counts([Refusal(**row) for row in pq.read_table(folder / FILE_NAME).to_pylist()])


def _counts(refusals: Sequence[Refusal]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for refusal in refusals:
        counts[refusal.reason] += refusal.count
    return dict(sorted(counts.items()))
