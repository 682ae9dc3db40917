"""Where chunks of work are done: here, in worker processes, or wherever a flow sends them."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Protocol, TypeVar, runtime_checkable

from medsynth.core.threads import use_threads

Chunk = TypeVar("Chunk")
Answer = TypeVar("Answer")


@runtime_checkable
class Workers(Protocol):
    """Does a function for every chunk; function, chunks and answers can be pickled."""

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Iterable[Chunk]
    ) -> Iterator[Answer | None]:
        """The answers in the order of the chunks; `None` where the worker died over one."""
        ...


class Here:
    """This process, one chunk after the other, with threads inside of each."""

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Iterable[Chunk]
    ) -> Iterator[Answer | None]:
        """The answers in the order of the chunks."""
        return map(function, chunks)


class Processes:
    """So many processes of one thread; one that dies costs the chunk it had, and is replaced."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"there must be at least one worker process, got {count}")
        self._count = count
        self._idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()

    def __enter__(self) -> "Processes":
        for _ in range(self._count):
            self._idle.put(_one_process())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for _ in range(self._count):
            self._idle.get().shutdown(cancel_futures=True)

    def map(
        self, function: Callable[[Chunk], Answer], chunks: Iterable[Chunk]
    ) -> Iterator[Answer | None]:
        """The answers in the order of the chunks; `None` where the worker died over one."""
        with ThreadPoolExecutor(self._count) as threads:
            yield from in_order(
                lambda chunk: threads.submit(self._run, function, chunk).result,
                chunks,
                ahead=2 * self._count,
            )

    def _run(self, function: Callable[[Chunk], Answer], chunk: Chunk) -> Answer | None:
        # Each process is a pool of its own: one that dies breaks nobody else's work.
        process = self._idle.get()
        try:
            return process.submit(function, chunk).result()
        except BrokenProcessPool:
            process.shutdown(wait=False)
            process = _one_process()
            return None
        finally:
            self._idle.put(process)


def _one_process() -> ProcessPoolExecutor:
    # A fork server is a clean copy without threads, locks or open files of this process.
    context = multiprocessing.get_context("forkserver")
    with suppress(AttributeError):
        context.set_forkserver_preload(["medsynth.ingest.readings"])
    return ProcessPoolExecutor(1, mp_context=context, initializer=use_threads, initargs=(1,))


def in_order(
    submit: Callable[[Any], Callable[[], Any]], chunks: Iterable[Any], *, ahead: int
) -> Iterator[Any]:
    """Results in the order of the chunks, of which no more than `ahead` are taken in advance.

    `submit` starts a chunk and returns what waits for its result.
    """
    waiting: deque[Callable[[], Any]] = deque()
    for chunk in chunks:
        waiting.append(submit(chunk))
        if len(waiting) >= ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()
