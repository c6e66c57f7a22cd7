"""The pool: results in order, bounded memory, Ctrl-C and errors that stop everything."""

from __future__ import annotations

import _thread
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nextlong_rs import ConfigError
from nextlong_rs.engine.pool import Pool, thread_count


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    with Pool(4) as pool:
        assert list(pool.in_order(slow_first, range(20))) == [item * item for item in range(20)]


def test_items_are_drawn_only_a_little_ahead() -> None:
    drawn = []

    def items() -> Iterator[int]:
        for item in range(100):
            drawn.append(item)
            yield item

    with Pool(2) as pool:
        results = pool.in_order(abs, items())
        next(results)
        assert len(drawn) <= 4


def test_an_error_in_a_task_is_raised_and_the_watch_cancelled() -> None:
    def fails(item: int) -> int:
        raise OSError(f"item {item}")

    pool = Pool(2)
    with pytest.raises(OSError, match="item 0"), pool:
        list(pool.in_order(fails, range(5)))


def test_lanes_are_advanced_side_by_side_each_by_one_thread_at_a_time() -> None:
    both = threading.Barrier(2, timeout=20)
    busy: set[int] = set()
    taken: dict[int, int] = {}

    def advance(lane: int) -> Callable[[], tuple[int, int]] | None:
        assert lane not in busy
        busy.add(lane)
        piece = taken.get(lane, 0)
        taken[lane] = piece + 1
        if lane < 2 and piece == 0:
            both.wait()  # Nobody comes by who waits for the other lane's end.
        time.sleep(0.001)
        busy.remove(lane)
        return None if piece == lane else lambda: (lane, piece)

    with Pool(2) as pool:
        found = list(pool.side_by_side(advance, range(7)))
    assert sorted(found) == [(lane, piece) for lane in range(7) for piece in range(lane)]
    with Pool(3) as pool:
        assert list(pool.side_by_side(advance, [])) == []


def test_one_lane_is_read_while_its_pieces_are_worked_on() -> None:
    both = threading.Barrier(2, timeout=20)
    pieces = iter(range(2))

    def advance(lane: str) -> Callable[[], int] | None:
        piece = next(pieces, None)
        return None if piece is None else lambda: both.wait() * 0 + piece

    with Pool(2) as pool:
        assert sorted(pool.side_by_side(advance, ["one"])) == [0, 1]


@pytest.mark.parametrize("where", ["advance", "work"])
def test_an_error_in_a_lane_ends_all(where: str) -> None:
    def advance(lane: int) -> Callable[[], int]:
        def work() -> int:
            if lane == 1:
                raise OSError("lane 1")
            time.sleep(0.001)
            return lane

        if where == "advance":
            work()
        return work

    pool = Pool(2)
    with pytest.raises(OSError, match="lane 1"), pool:
        list(pool.side_by_side(advance, itertools.count(1)))


def test_no_thread_outlives_the_pool() -> None:
    before = threading.active_count()
    with Pool(3) as pool:
        pool.map(time.sleep, [0.01] * 3)
    assert threading.active_count() == before


@pytest.fixture
def listening() -> Iterator[None]:
    """Hears SIGINT, which a shell switches off for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
def test_ctrl_c_is_heard_while_a_task_runs() -> None:
    stop = threading.Event()
    begun = time.perf_counter()
    with pytest.raises(KeyboardInterrupt), Pool(1) as pool:
        threading.Timer(0.2, _thread.interrupt_main).start()
        threading.Timer(0.3, stop.set).start()
        pool.call(lambda: stop.wait(30))
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("threads", [0, -1, 1.5, "two", True])
def test_a_wrong_thread_count_is_refused(threads: object) -> None:
    with pytest.raises(ConfigError, match="threads is"):
        thread_count(threads)  # type: ignore[arg-type]


def test_threads_end_with_the_last_task() -> None:
    with Pool(1) as pool:
        future = pool.submit_last(threading.current_thread)
        thread = pool.wait(future)
        thread.join(10)
        assert not thread.is_alive()
        with pytest.raises(RuntimeError):
            pool.submit(int)
