"""The spool: one folder per series, one DICOM file per instance, each exactly once.

    incoming/SERIES/SOP.dcm    what came of a series that is not whole yet
    ready/SERIES/SOP.dcm       whole series, the source of ingest
    ledger.sqlite              what came, by keyed ids

A file is written under a temporary name, made durable, renamed, then entered into the ledger; a
series becomes visible by one rename. Whatever a kill leaves behind is put right at the next open.
"""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from medsynth.core.keys import Keys
from medsynth.ingest.pacs.instance import read_instance, write_instance
from medsynth.ingest.pacs.ledger import Ledger, Stored
from medsynth.ingest.pacs.problems import RetrievalProblem, SpoolBusy

Received = Literal["stored", "known", "conflict", "unasked"]
_KEY_CHARS = 24
_SUFFIX, _PART, _REPLACED = ".dcm", ".part", ".replaced"


class Spool:
    """An open spool, held by one process."""

    def __init__(self, folder: Path, keys: Keys, ledger: Ledger) -> None:
        self.ledger = ledger
        self.incoming, self.ready = folder / "incoming", folder / "ready"
        self._keys = keys

    def series_key(self, uid: str) -> str:
        """Our name of a series."""
        return f"series-{self._keys.digest('series', uid)[:_KEY_CHARS]}"

    def study_key(self, uid: str) -> str:
        """Our name of a study."""
        return f"study-{self._keys.digest('study', uid)[:_KEY_CHARS]}"

    def sop_key(self, uid: str) -> str:
        """Our name of an instance, the one that a manifest's provenance has."""
        return f"sop-{self._keys.digest('sop', uid)[:_KEY_CHARS]}"

    def receive(
        self,
        series_key: str,
        wanted: Collection[str],
        chunks: Iterable[bytes],
        max_bytes: int,
    ) -> tuple[Received, int]:
        """Take one file of a series in; returns what became of it, and its bytes.

        `wanted` are the keys of the instances that the archive lists in this series.
        """
        folder = self.incoming / series_key
        folder.mkdir(mode=0o700, exist_ok=True)
        part = folder / _PART
        try:
            instance = write_instance(part, chunks, max_bytes)
            sop_key = self.sop_key(instance.uid)
            stored = self.ledger.find(sop_key)
            if stored is None and sop_key in wanted:
                part.rename(folder / f"{sop_key}{_SUFFIX}")
                _sync(folder)
                self.ledger.add(Stored(sop_key, series_key, instance.sha256, instance.size))
                return "stored", instance.size
        finally:
            part.unlink(missing_ok=True)
        if stored is None:
            return "unasked", instance.size
        if stored.sha256 == instance.sha256:
            return "known", instance.size
        self.ledger.add_conflict(sop_key, series_key, instance.sha256)
        return "conflict", instance.size

    def missing(self, series_key: str, sop_keys: Iterable[str]) -> set[str]:
        """Instances of a series that must still come; a UID that another series has is none.

        One UID in two series is a conflict: the first stays, the second is counted.
        """
        here, missing = self.ledger.instances(series_key), set()
        for sop_key in sop_keys:
            if sop_key in here:
                continue
            elsewhere = self.ledger.find(sop_key)
            if elsewhere is None:
                missing.add(sop_key)
            else:
                self.ledger.add_conflict(sop_key, series_key, "")
        return missing

    def publish(self, series_key: str) -> None:
        """Make a whole series visible to ingest.

        A series that had grown is put together beside its old folder, which then gives way: for a
        moment neither is visible, never a part of one.
        """
        folder, shown = self.incoming / series_key, self.ready / series_key
        if folder.is_dir() and any(folder.iterdir()):
            if shown.is_dir():
                _link_all(shown, folder)
                shown.rename(self._replaced(series_key))
            folder.rename(shown)
            _sync(self.ready)
            shutil.rmtree(self._replaced(series_key), ignore_errors=True)
        self.ledger.mark_whole(series_key)

    def _replaced(self, series_key: str) -> Path:
        return self.incoming / f"{series_key}{_REPLACED}"

    def reconcile(self) -> None:
        """Bring folder and ledger to agree after a kill: adopt, remove, or fetch again."""
        self._finish_publishing()
        for part in self.incoming.glob(f"*/{_PART}"):
            part.unlink()
        folders = [path for place in (self.ready, self.incoming) for path in place.iterdir()]
        names = {folder.name for folder in folders}
        for series_key in names | self.ledger.every_series_with_instances():
            self._reconcile_series(series_key)

    def _finish_publishing(self) -> None:
        for replaced in list(self.incoming.glob(f"*{_REPLACED}")):
            shown = self.ready / replaced.name.removesuffix(_REPLACED)
            if shown.exists():
                shutil.rmtree(replaced)
            else:
                replaced.rename(shown)

    def _reconcile_series(self, series_key: str) -> None:
        rows = self.ledger.instances(series_key)
        found: set[str] = set()
        for place in (self.ready, self.incoming):
            for name, size in _files(place / series_key):
                sop_key = name.removesuffix(_SUFFIX)
                is_known = sop_key in rows and rows[sop_key].size == size
                if is_known or self._adopt(place / series_key / name, series_key, rows):
                    found.add(sop_key)
        lost = [row for sop_key, row in rows.items() if sop_key not in found]
        if lost:
            self.ledger.forget(lost)

    def _adopt(self, path: Path, series_key: str, rows: dict[str, Stored]) -> bool:
        """Enter a file that a killed run had just renamed; remove any other."""
        sop_key = path.name.removesuffix(_SUFFIX)
        try:
            instance = read_instance(path)
            is_ours = self.sop_key(instance.uid) == sop_key and self.ledger.find(sop_key) is None
        except (OSError, RetrievalProblem):
            is_ours = False
        if not is_ours:
            path.unlink()
            return False
        self.ledger.add(Stored(sop_key, series_key, instance.sha256, instance.size))
        return True


@contextmanager
def open_spool(folder: Path, keys: Keys) -> Iterator[Spool]:
    """Hold a spool alone, in order; raises SpoolBusy where another process does."""
    for private in (folder, folder / "incoming", folder / "ready"):
        private.mkdir(parents=True, exist_ok=True)
        private.chmod(0o700)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolBusy("another run is retrieving into this spool; wait for it") from None
        ledger = Ledger(folder / "ledger.sqlite")
        try:
            spool = Spool(folder, keys, ledger)
            spool.reconcile()
            yield spool
        finally:
            ledger.close()


def _files(folder: Path) -> list[tuple[str, int]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [(entry.name, entry.stat(follow_symlinks=False).st_size) for entry in entries]


def _link_all(shown: Path, folder: Path) -> None:
    """The files of a visible series beside what came since; a second name, not a second copy."""
    for name, _ in _files(shown):
        if not (folder / name).exists():
            os.link(shown / name, folder / name)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
