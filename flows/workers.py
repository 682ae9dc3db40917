"""The workers of an ingest, by one line of the config.

    workers = "processes:4"                 four processes on this machine
    workers = "dask:4" | "ray:4"            a cluster of four on this machine, for this run
    workers = "dask:tcp://HOST:8786" | "ray://HOST:10001"      a cluster that is there

Dask and Ray are reached through Prefect's task runners, one task per chunk. Workers must see
SOURCE and OUT under the same paths (on other machines also a Prefect server, by PREFECT_API_URL),
and they get the secret that names subjects: a cluster must be trusted as this machine is. What
travels is a callable: Prefect neither looks into it nor records it.
"""

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from prefect import task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.session import TASK
from medsynth.core.errors import UsageProblem
from medsynth.ingest.workers import Here, Processes, Workers, in_order

Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")
_AHEAD = 32  # chunks on their way to a cluster whose size is not known


@contextmanager
def open_workers(line: str) -> Iterator[Workers]:
    """The workers that the line names, until the block ends."""
    kind, _, where = line.partition(":")
    if not kind:
        yield Here()
    elif kind == "processes":
        with Processes(int(where)) as processes:
            yield processes
    else:
        with _opened(kind, where) as cluster:
            yield cluster


@dataclass(frozen=True)
class _Fault:
    """An exception of ours in a worker, in its own words, which Prefect must not see."""

    text: str


@task(name="chunk", **TASK)
def do_chunk(work: Callable[[], Any]) -> Any:
    """What the work answers, or what went wrong."""
    try:
        return work()
    except Exception:
        return _Fault(traceback.format_exc())


@dataclass(frozen=True)
class _Cluster:
    """Workers behind a task runner of Prefect; `losses` are what it raises when one dies."""

    submit: Callable[[Callable[[], Any]], Any]
    losses: tuple[type[Exception], ...]
    ahead: int

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Iterable[Chunk]
    ) -> Iterator[Answer | None]:
        """The answers in the order of the chunks; `None` where the worker died over one."""

        def start(chunk: Chunk) -> Callable[[], Answer | None]:
            future = self.submit(partial(function, chunk))
            return lambda: self._answer(future)

        return in_order(start, chunks, ahead=self.ahead)

    def _answer(self, future: Any) -> Any:
        try:
            answer = future.result()
        except self.losses:
            return None
        if isinstance(answer, self.losses):  # Ray's future hands some errors over as results
            return None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, _Fault):
            raise RuntimeError(answer.text)
        return answer


@contextmanager
def _opened(kind: str, where: str) -> Iterator[Workers]:
    try:
        opened = {"dask": _dask, "ray": _ray}[kind](where)
    except ImportError:
        raise UsageProblem(f"workers by {kind} need: pip install 'medsynth[cluster]'") from None
    with temporary_settings({PREFECT_API_URL: _api_url()}), opened as cluster:
        yield cluster


def _api_url() -> str:
    """Prefect's address: without it every worker would start a server of its own."""
    with get_client(sync_client=True) as client:
        return str(client.api_url)


def _dask(where: str) -> Any:
    from dask import config
    from distributed.scheduler import KilledWorker
    from prefect_dask import DaskTaskRunner

    @contextmanager
    def opened() -> Iterator[_Cluster]:
        # A chunk that killed its worker is not sent again: it is taken apart first.
        with config.set({"distributed.scheduler.allowed-failures": 0}), runner as started:

            def submit(work: Callable[[], Any]) -> Any:
                return started.submit(do_chunk, parameters={"work": work})

            yield _Cluster(submit, (KilledWorker,), 2 * count or _AHEAD)

    count = int(where) if where.isdigit() else 0
    local = {
        "n_workers": count,
        "threads_per_worker": 1,
        "dashboard_address": None,
        "silence_logs": logging.CRITICAL,
    }
    runner = DaskTaskRunner(cluster_kwargs=local) if count else DaskTaskRunner(address=where)
    return opened()


def _ray(where: str) -> Any:
    from prefect_ray import RayTaskRunner
    from prefect_ray.context import remote_options
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    @contextmanager
    def opened() -> Iterator[_Cluster]:
        with runner as started:

            def submit(work: Callable[[], Any]) -> Any:
                with remote_options(max_retries=0):
                    return started.submit(do_chunk, parameters={"work": work})

            losses = (WorkerCrashedError, OutOfMemoryError, NodeDiedError)
            yield _Cluster(submit, losses, 2 * count or _AHEAD)

    count = int(where) if where.isdigit() else 0
    local = {
        "num_cpus": count,
        "include_dashboard": False,
        "configure_logging": False,
        "log_to_driver": False,
    }
    runner = RayTaskRunner(init_kwargs=local) if count else RayTaskRunner(address=f"ray:{where}")
    return opened()
