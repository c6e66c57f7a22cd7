"""The pool: results in order, bounded memory, Ctrl-C and errors that stop everything."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from nextlong_rs import ConfigError
from nextlong_rs.pool import Pool, thread_count


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
