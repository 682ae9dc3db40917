"""What is known of an archive between two runs: keyed ids, counts and times, in one sqlite file.

No name, no UID and no date of the archive is written. A row is there only once its file is, so a
file without a row is one that a killed run had just put in its place.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

_FORMAT = "medsynth-spool-1"
_TABLES = """
CREATE TABLE IF NOT EXISTS series (
  series_key TEXT PRIMARY KEY, study_key TEXT NOT NULL, count INTEGER NOT NULL,
  polls INTEGER NOT NULL, changed_at REAL NOT NULL, whole_count INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS instances (
  sop_key TEXT PRIMARY KEY, series_key TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instances_of ON instances (series_key);
CREATE TABLE IF NOT EXISTS failures (
  series_key TEXT PRIMARY KEY, tries INTEGER NOT NULL, reason TEXT NOT NULL,
  is_dead INTEGER NOT NULL, count INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS conflicts (
  sop_key TEXT NOT NULL, series_key TEXT NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (sop_key, series_key, sha256)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Seen:
    """A series as the latest poll saw it; `count` in instances, `changed_at` in seconds (epoch).

    `whole_count` is the count at which every instance was last in the spool.
    """

    series_key: str
    study_key: str
    count: int
    polls: int
    changed_at: float
    whole_count: int | None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to be fetched."""
        return self.whole_count == self.count


@dataclass(frozen=True)
class Stored:
    """An instance that lies in the spool; `size` in bytes."""

    sop_key: str
    series_key: str
    sha256: str
    size: int


class Ledger:
    """The sqlite file; every method is one transaction, safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_TABLES)
        self._set("format", _FORMAT)

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def observe(self, seen: Sequence[tuple[str, str, int]], now: float) -> None:
        """A poll: (series key, study key, count) of every series listed; `now` in seconds."""
        with self._transaction() as database:
            database.executemany(
                "INSERT INTO series VALUES (?, ?, ?, 1, ?, NULL) ON CONFLICT DO UPDATE SET"
                " polls = CASE count WHEN excluded.count THEN polls + 1 ELSE 1 END,"
                " changed_at = CASE count WHEN excluded.count THEN changed_at"
                " ELSE excluded.changed_at END, count = excluded.count",
                [(*row, now) for row in seen],
            )

    def series(self, series_key: str) -> Seen:
        """What is known of a series that a poll saw."""
        (row,) = self._rows("SELECT * FROM series WHERE series_key = ?", series_key)
        return Seen(*row)  # type: ignore[arg-type]

    def studies(self) -> set[str]:
        """Keys of every study ever seen."""
        return {str(key) for (key,) in self._rows("SELECT DISTINCT study_key FROM series")}

    def mark_whole(self, series_key: str) -> None:
        """Every instance of the series is in the spool; its failures are over."""
        with self._transaction() as database:
            database.execute(
                "UPDATE series SET whole_count = count WHERE series_key = ?", [series_key]
            )
            database.execute("DELETE FROM failures WHERE series_key = ?", [series_key])

    def find(self, sop_key: str) -> Stored | None:
        """The instance of that key."""
        rows = self._rows("SELECT * FROM instances WHERE sop_key = ?", sop_key)
        return Stored(*rows[0]) if rows else None  # type: ignore[arg-type]

    def instances(self, series_key: str) -> dict[str, Stored]:
        """Instances of a series that lie in the spool, by key."""
        rows = self._rows("SELECT * FROM instances WHERE series_key = ?", series_key)
        return {str(row[0]): Stored(*row) for row in rows}  # type: ignore[arg-type]

    def every_series_with_instances(self) -> set[str]:
        """Keys of series of which something lies in the spool."""
        return {str(key) for (key,) in self._rows("SELECT DISTINCT series_key FROM instances")}

    def add(self, instance: Stored) -> None:
        """An instance whose file is in its place."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO instances VALUES (?, ?, ?, ?)",
                [instance.sop_key, instance.series_key, instance.sha256, instance.size],
            )

    def forget(self, lost: Sequence[Stored]) -> None:
        """Instances whose files are gone: they and their series are to be fetched again."""
        with self._transaction() as database:
            database.executemany(
                "DELETE FROM instances WHERE sop_key = ?", [(one.sop_key,) for one in lost]
            )
            database.executemany(
                "UPDATE series SET whole_count = NULL WHERE series_key = ?",
                [(one.series_key,) for one in lost],
            )

    def add_conflict(self, sop_key: str, series_key: str, sha256: str) -> None:
        """Another data set came under the UID of a stored one, which stays; counted once."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO conflicts VALUES (?, ?, ?)", [sop_key, series_key, sha256]
            )

    def fail(self, series_key: str, reason: str, most_tries: int) -> int:
        """Count one more failure of a series at its present count; returns how many there were."""
        with self._transaction() as database:
            ((tries,),) = database.execute(
                "INSERT INTO failures SELECT series_key, 1, ?, 0, count FROM series"
                " WHERE series_key = ? ON CONFLICT DO UPDATE SET"
                " tries = CASE count WHEN excluded.count THEN tries + 1 ELSE 1 END,"
                " reason = excluded.reason, count = excluded.count RETURNING tries",
                [reason, series_key],
            ).fetchall()
            database.execute(
                "UPDATE failures SET is_dead = tries >= ? WHERE series_key = ?",
                [most_tries, series_key],
            )
        return int(tries)

    def is_dead(self, series_key: str) -> bool:
        """Whether the series failed too often, and the archive shows no other count since."""
        query = "SELECT 1 FROM failures NATURAL JOIN series WHERE series_key = ? AND is_dead"
        return bool(self._rows(query, series_key))

    def revive(self) -> int:
        """Give every dead letter its tries back; returns how many there were."""
        with self._transaction() as database:
            return database.execute("DELETE FROM failures WHERE is_dead").rowcount

    def dead_letters(self) -> dict[str, int]:
        """Series given up, by reason."""
        query = "SELECT reason, count(*) FROM failures WHERE is_dead GROUP BY reason"
        return {str(reason): int(str(count)) for reason, count in self._rows(query)}

    def count_instances(self) -> int:
        """Instances in the spool."""
        return int(str(self._rows("SELECT count(*) FROM instances")[0][0]))

    def count_conflicts(self) -> int:
        """Conflicts ever seen."""
        return int(str(self._rows("SELECT count(*) FROM conflicts")[0][0]))

    @property
    def listed_on(self) -> date | None:
        """The day of the latest poll that listed the archive to its end."""
        rows = self._rows("SELECT value FROM state WHERE name = 'listed_on'")
        return date.fromisoformat(str(rows[0][0])) if rows else None

    @listed_on.setter
    def listed_on(self, day: date) -> None:
        self._set("listed_on", day.isoformat())

    def _set(self, name: str, value: str) -> None:
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", [name, value])
