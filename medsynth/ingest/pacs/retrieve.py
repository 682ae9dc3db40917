"""Retrieval: poll the archive, wait until a series has settled, fetch what is missing of it.

A series is settled when so many polls in a row saw the same number of instances and it has been
quiet for so long; it is whole when every instance that the archive lists is in the spool.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from re import IGNORECASE, search
from typing import Any

from medsynth.core.stage import Progress, silent
from medsynth.ingest.hush import hushed
from medsynth.ingest.pacs.config import PacsConfig
from medsynth.ingest.pacs.ledger import Ledger
from medsynth.ingest.pacs.pace import Clock, Pace
from medsynth.ingest.pacs.peer import Peer, Series, Window, is_uid
from medsynth.ingest.pacs.problems import RetrievalProblem
from medsynth.ingest.pacs.spool import Spool


@dataclass
class Retrieval:
    """What a run did, in counts: series, instances, bytes."""

    num_series: int = 0
    """Series wanted that the latest poll saw."""
    num_fetched_series: int = 0
    """Series made whole by this run."""
    num_instances: int = 0
    """Instances stored by this run."""
    num_bytes: int = 0
    """Their bytes."""
    num_failures: int = 0
    """Tries that failed in this run."""
    num_unsettled: int = 0
    """Series still arriving, left to the next run."""
    num_deferred: int = 0
    """Series left to the next night."""
    num_conflicts: int = 0
    """Instances ever refused because their UID has other bytes here."""
    num_spooled: int = 0
    """Instances in the spool."""
    dead_letters: dict[str, int] = field(default_factory=dict)
    """Series given up, by reason."""

    def facts(self) -> dict[str, Any]:
        """Plain JSON of every count."""
        return asdict(self)


def retrieve(
    peer: Peer,
    spool: Spool,
    config: PacsConfig,
    *,
    retry_dead: bool = False,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Retrieval:
    """Bring the spool up to date; raises ArchiveRefused, ArchiveUnreachable."""
    if retry_dead:
        spool.ledger.revive()
    run = _Run(peer, spool, config, clock or Clock(), progress)
    with hushed():
        run.until_settled()
    return run.closed()


def window_of(config: PacsConfig, ledger: Ledger, clock: Clock) -> Window:
    """Study dates to ask for.

    The last days reach back behind the latest complete listing, so that neither a machine that
    was off for a while nor a study that came late leaves a gap.
    """
    if config.last_days is None:
        return Window(config.date_from, config.date_to)
    first = clock.now().date() - timedelta(days=config.last_days)
    if ledger.listed_on is not None:
        first = min(first, ledger.listed_on - timedelta(days=config.look_back_days))
    return Window(first, None)


class _Run:
    """One retrieval at work."""

    def __init__(
        self, peer: Peer, spool: Spool, config: PacsConfig, clock: Clock, progress: Progress
    ) -> None:
        self._peer, self._spool, self._config = peer, spool, config
        self._clock, self._progress = clock, progress
        self._pace = Pace(config, clock)
        self._window = window_of(config, spool.ledger, clock)
        self._done = Retrieval()

    def closed(self) -> Retrieval:
        """The counts, with what the ledger knows."""
        ledger = self._spool.ledger
        self._done.num_conflicts = ledger.count_conflicts()
        self._done.num_spooled = ledger.count_instances()
        self._done.dead_letters = ledger.dead_letters()
        return self._done

    def until_settled(self) -> None:
        """Poll and fetch until nothing is arriving any more, or the time for waiting is over."""
        end = self._clock.seconds() + self._config.wait_seconds
        while True:
            settled, self._done.num_unsettled = self._poll()
            self._fetch_all(settled)
            if self._done.num_deferred:
                return
            if not self._done.num_unsettled:
                # Only now: what is left to the next run must still lie in its window.
                self._spool.ledger.listed_on = self._clock.now().date()
                return
            if self._clock.seconds() + self._config.poll_seconds > end:
                return
            self._clock.sleep(self._config.poll_seconds)

    def _poll(self) -> tuple[list[Series], int]:
        """Series to fetch now, and how many are still arriving."""
        listed, ledger = self._listed(), self._spool.ledger
        keyed = [(self._key(one), one) for one in listed]
        now = self._clock.seconds()
        ledger.observe(
            [(key, self._spool.study_key(one.study_uid), one.count or 0) for key, one in keyed], now
        )
        self._done.num_series = len(listed)
        settled, num_unsettled = [], 0
        for key, one in keyed:
            seen = ledger.series(key)
            if seen.is_whole or ledger.is_dead(key):
                continue
            is_quiet = now - seen.changed_at >= self._config.quiet_seconds
            if seen.polls >= self._config.settle_polls and is_quiet:
                settled.append(one)
            else:
                num_unsettled += 1
        return settled, num_unsettled

    def _listed(self) -> list[Series]:
        """Series that the config wants, each once, with a count."""
        config, wanted = self._config, {}
        for one in self._peer.series(self._window, config.modalities):
            if is_uid(one.uid) and is_uid(one.study_uid) and self._is_wanted(one):
                wanted[one.uid] = one
        return [self._counted(one) for one in self._first_studies(list(wanted.values()))]

    def _is_wanted(self, one: Series) -> bool:
        modalities, pattern = self._config.modalities, self._config.description
        return (
            (not modalities or not one.modality or one.modality in modalities)
            and self._window.holds(one.study_date)
            and (not pattern or search(pattern, one.description, IGNORECASE) is not None)
        )

    def _first_studies(self, found: list[Series]) -> list[Series]:
        """Series of the first studies: known ones before new ones, then by date."""
        if self._config.max_studies is None:
            return found
        known, key = self._spool.ledger.studies(), self._spool.study_key
        order = sorted({(key(s.study_uid) not in known, s.study_date, s.study_uid) for s in found})
        chosen = list(dict.fromkeys(uid for _, _, uid in order))[: self._config.max_studies]
        return [one for one in found if one.study_uid in set(chosen)]

    def _counted(self, one: Series) -> Series:
        """The series with its count, which some archives do not tell."""
        if one.count is not None:
            return one
        try:
            return replace(one, count=len(self._peer.instances(one)))
        except RetrievalProblem:
            return replace(one, count=0)

    def _fetch_all(self, settled: Sequence[Series]) -> None:
        """Fetch each series; one that fails is tried again when its wait is over."""
        due = [(0.0, number) for number in range(len(settled))]
        left = len(due)
        while due:
            if not self._pace.is_open():
                self._done.num_deferred = len(due)
                return
            at, number = heapq.heappop(due)
            self._clock.sleep(max(at - self._clock.seconds(), 0.0))
            again_at = self._try(settled[number])
            if again_at is None:
                left -= 1
                self._progress(len(settled) - left, len(settled))
            else:
                heapq.heappush(due, (again_at, number))

    def _try(self, one: Series) -> float | None:
        """Fetch a series; returns when to try again (seconds), `None` where it is over."""
        try:
            self._fetch(one)
        except RetrievalProblem as problem:
            if problem.reason in ("broken_off", "server_error"):
                self._peer.check()  # an archive that is down is no fault of this series
            self._done.num_failures += 1
            tries = self._spool.ledger.fail(self._key(one), problem.reason, self._config.tries)
            if tries >= self._config.tries:
                return None
            return self._clock.seconds() + self._pace.backoff_seconds(tries)
        self._done.num_fetched_series += 1
        return None

    def _fetch(self, one: Series) -> None:
        series_key, spool = self._key(one), self._spool
        uids = {spool.sop_key(uid): uid for uid in self._peer.instances(one) if is_uid(uid)}
        missing = spool.missing(series_key, uids)
        if missing:
            # A series that is new comes in one stream; of one that has grown, what is new alone.
            wanted = (
                None
                if len(missing) == len(uids)
                else [uid for key, uid in uids.items() if key in missing]
            )
            self._receive(one, wanted, uids)
        if spool.missing(series_key, uids):
            raise RetrievalProblem("incomplete")
        spool.publish(series_key)

    def _receive(self, one: Series, wanted: Sequence[str] | None, keys: dict[str, str]) -> None:
        series_key, limit = self._key(one), self._config.max_instance_bytes

        def receive(chunks: Iterable[bytes]) -> None:
            limited = self._pace.limited(chunks)
            became, size = self._spool.receive(series_key, keys.keys(), limited, limit)
            if became == "stored":
                self._done.num_instances += 1
                self._done.num_bytes += size

        self._peer.fetch(one, wanted, receive)

    def _key(self, one: Series) -> str:
        return self._spool.series_key(one.uid)
