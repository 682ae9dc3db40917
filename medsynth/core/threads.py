"""Threads for work that lets go of the interpreter: reading, copying, hashing, decoding.

Answers and their order are the same with any number of threads. A process that is one of many
keeps to one; work that already runs in such a thread starts no further ones.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_MOST = 4  # of one volume at a time: memory and disk carry no more
_own = threading.local()
_most = [_MOST]


def use_threads(count: int) -> None:
    """How many threads this process may use from now on, at most."""
    if count < 1:
        raise ValueError(f"there must be at least one thread, got {count}")
    _most[0] = count


def num_threads() -> int:
    """How many threads work that is started here is spread over."""
    return 1 if getattr(_own, "is_inner", False) else min(_most[0], len(os.sched_getaffinity(0)))


def in_threads(
    function: Callable[[Item], Answer], items: Sequence[Item]
) -> Iterator[Callable[[], Answer]]:
    """For each item, in order, what waits for its answer or raises what `function` raised.

    With one thread, nothing is done before it is waited for.
    """
    count = min(num_threads(), len(items))
    if count < 2:
        yield from (partial(function, item) for item in items)
        return
    pool, is_whole = ThreadPoolExecutor(count, initializer=_enter), False
    try:
        yield from [pool.submit(function, item).result for item in items]
        is_whole = True
    finally:
        pool.shutdown(cancel_futures=not is_whole)


def _enter() -> None:
    _own.is_inner = True


@contextmanager
def beside(function: Callable[[Item], Answer], item: Item) -> Iterator[Callable[[], Answer]]:
    """What waits for the answer, which is worked out while the block goes on.

    With one thread, nothing is done before it is waited for.
    """
    if num_threads() < 2:
        yield partial(function, item)
        return
    with ThreadPoolExecutor(1, initializer=_enter) as pool:
        yield pool.submit(function, item).result
