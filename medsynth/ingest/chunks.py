"""Chunks of work, and the answers to all of them though workers die.

A chunk whose worker died is done again item by item: one bad file costs its neighbors time and
nothing else.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from medsynth.ingest.workers import Workers

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_TRIES = 3  # a cluster may blame what only stood in line behind the work that killed its worker


def answers(
    workers: Workers,
    function: Callable[[Sequence[Item]], Answer],
    chunks: Iterable[Sequence[Item]],
    otherwise: Callable[[Item], Answer],
) -> Iterator[tuple[int, Answer]]:
    """(how many items it answers for, answer), in the order of the items.

    `otherwise` answers for an item that nobody survives.
    """
    sent: deque[Sequence[Item]] = deque()
    for answer in workers.map(function, _noted(chunks, sent)):
        chunk = sent.popleft()
        if answer is not None:
            yield len(chunk), answer
            continue
        for item in chunk:
            one = alone(workers, function, [item])
            yield 1, otherwise(item) if one is None else one


def alone(workers: Workers, function: Callable[[Item], Answer], chunk: Item) -> Answer | None:
    """The answer for one chunk, tried some times over; `None` where every worker died over it."""
    for _ in range(_TRIES):
        for answer in workers.map(function, [chunk]):
            if answer is not None:
                return answer
    return None


def _noted(
    chunks: Iterable[Sequence[Item]], sent: deque[Sequence[Item]]
) -> Iterator[Sequence[Item]]:
    for chunk in chunks:
        sent.append(chunk)
        yield chunk


def by_count(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """Chunks of so many items."""
    return (items[at : at + most] for at in range(0, len(items), most))


def by_size(
    items: deque[Item], size: Callable[[Item], int], *, most: int, most_items: int
) -> Iterator[list[Item]]:
    """Chunks of up to so many items and so much size in all; each leaves `items` as it is taken."""
    while items:
        chunk = [items.popleft()]
        room = most - size(chunk[0])
        while items and len(chunk) < most_items and (room := room - size(items[0])) >= 0:
            chunk.append(items.popleft())
        yield chunk
