"""How fast and when: a rate that an archive bears, waits between tries, the hours of the night."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from medsynth.ingest.pacs.config import PacsConfig


@dataclass(frozen=True)
class Clock:
    """Local time, and waiting for it to pass (seconds)."""

    now: Callable[[], datetime] = datetime.now
    sleep: Callable[[float], None] = time.sleep

    def seconds(self) -> float:
        """Seconds since the epoch."""
        return self.now().timestamp()


class Rate:
    """Keeps the mean rate below a limit: who was faster waits; time not used is not saved up."""

    def __init__(self, per_second: float | None, clock: Clock) -> None:
        self._seconds_each = 1 / per_second if per_second else 0.0
        self._clock = clock
        self._free_at = 0.0

    def spend(self, amount: float) -> None:
        """Wait until what was spent before is paid for, then owe for this."""
        if not self._seconds_each:
            return
        now = self._clock.seconds()
        if self._free_at > now:
            self._clock.sleep(self._free_at - now)
        self._free_at = max(self._free_at, now) + amount * self._seconds_each


class Pace:
    """The limits of a config."""

    def __init__(self, config: PacsConfig, clock: Clock) -> None:
        megabytes = config.megabytes_per_second
        self._config, self._clock = config, clock
        self._instances = Rate(config.instances_per_second, clock)
        self._bytes = Rate(megabytes * 1e6 if megabytes else None, clock)

    def limited(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks of one instance, no faster than allowed."""
        self._instances.spend(1.0)
        for chunk in chunks:
            self._bytes.spend(float(len(chunk)))
            yield chunk

    def is_open(self) -> bool:
        """Whether series may be fetched at this hour."""
        begin, end = self._config.night_from, self._config.night_to
        if begin is None or end is None:
            return True
        now = self._clock.now().time()
        return begin <= now < end if begin <= end else now >= begin or now < end

    def backoff_seconds(self, tries: int) -> float:
        """Wait after so many failures: doubled each time, between half and one and a half of it.

        Jitter keeps the tries of many series from coming together.
        """
        wait = self._config.backoff_seconds * 2.0 ** (tries - 1)
        return min(wait, self._config.max_backoff_seconds) * random.uniform(0.5, 1.5)
