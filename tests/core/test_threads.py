"""Work in threads gives the same answers in the same order, and never more threads than asked."""

import threading
import time
from collections.abc import Iterator

import pytest

from medsynth.core.threads import beside, in_threads, num_threads, use_threads


@pytest.fixture(params=[1, 4], autouse=True)
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    use_threads(request.param)
    yield request.param
    use_threads(4)


def _later(number: int) -> int:
    time.sleep(0.01 * (3 - number % 4))
    return number


def test_answers_come_in_the_order_of_the_items():
    assert [wait() for wait in in_threads(_later, range(12))] == list(range(12))
    assert list(in_threads(_later, [])) == []


def test_an_error_is_raised_where_its_answer_is_waited_for():
    waiting = list(in_threads(lambda number: 1 // number, [1, 0, *[1] * 50]))
    assert [wait() for wait in waiting[2:]] == [1] * 50
    with pytest.raises(ZeroDivisionError):
        waiting[1]()


def test_no_more_threads_run_than_are_allowed_and_none_inside_of_them(count: int):
    def inside(number: int) -> tuple[str, int]:
        time.sleep(0.01)
        return threading.current_thread().name, num_threads()

    found = [wait() for wait in in_threads(inside, range(12))]
    assert len({name for name, _ in found}) == count
    assert {inner for _, inner in found} == {1}
    assert num_threads() == count


def test_work_beside_a_block_is_done_when_it_is_waited_for_or_the_block_ends(count: int):
    done = list[int]()
    with beside(done.append, 1):
        time.sleep(0.05)
    assert done == [1] * (count > 1)
    with beside(_later, 2) as answer:
        assert answer() == 2


def test_there_is_at_least_one_thread():
    with pytest.raises(ValueError, match="got 0"):
        use_threads(0)
