"""Bounded, order-preserving, interruptible thread pool.

Tasks are calls into the Rust core that release the GIL. The main thread only waits, in short steps, so
that it reacts to Ctrl-C, and moves the progress bar from the core's counters.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from queue import Empty, SimpleQueue
from typing import TypeVar

from nextlong_rs._nextlong import Watch
from nextlong_rs.engine.progress import Bar
from nextlong_rs.errors import ConfigError

__all__ = ["Pool", "thread_count"]

In = TypeVar("In")
Out = TypeVar("Out")

TICK_SECONDS = 0.1


def thread_count(threads: int | None) -> int:
    """The number of threads to use: the one given, or the cores this process may run on."""
    if threads is None:
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else (os.cpu_count() or 1)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ConfigError(f"threads is {threads!r}, expected a whole number of at least 1")
    return threads


class Pool:
    """Threads for the length of a `with` block; none outlives it.

    When the block ends by an exception, Ctrl-C among them, the tasks under way are asked to stop
    through `watch` and waited for.

    Example:
        >>> with Pool(threads=2) as pool:
        ...     list(pool.in_order(str.upper, ["a", "b"]))
        ['A', 'B']
    """

    def __init__(
        self, threads: int | None = None, *, bar: Bar | None = None, spare: int = 0
    ) -> None:
        """So many threads, and `spare` more for tasks that wait for the disk in between."""
        self.threads = thread_count(threads)
        self._workers = self.threads + spare
        self.watch = Watch()
        self.bar = bar
        self._executor = ThreadPoolExecutor(self._workers, thread_name_prefix="nextlong")

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.watch.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self.show()

    def in_order(
        self, task: Callable[[In], Out], items: Iterable[In], *, ahead: int = 1
    ) -> Iterator[Out]:
        """Apply `task` to every item on the pool's threads; yield the results in item order.

        `items` is drawn on the calling thread, at most `threads + ahead` items before the result
        that is yielded next, so memory is bounded by the pool and not by the number of items.
        """
        under_way: deque[Future[Out]] = deque()
        try:
            for item in items:
                under_way.append(self._executor.submit(task, item))
                if len(under_way) >= self.threads + ahead:
                    yield self.wait(under_way.popleft())
            while under_way:
                yield self.wait(under_way.popleft())
        finally:
            for future in under_way:
                future.cancel()

    def side_by_side(
        self, advance: Callable[[In], Callable[[], Out] | None], lanes: Iterable[In]
    ) -> Iterator[Out]:
        """Work through lanes, as many at a time as there are threads; results come as they are done.

        Args:
            advance: Takes a lane one piece further and gives the work on it, or None at its end.
                One thread at a time advances a lane. It does the work at once, while others go on
                with the lane: so there is a piece for each thread and none in between.
            lanes: The lanes, begun in their order.

        Yields:
            What the work gave, in the order in which it ended.
        """
        outcomes: SimpleQueue[tuple[list[Out], BaseException | None]] = SimpleQueue()
        waiting = iter(lanes)
        begun = itertools.islice(waiting, self._workers)
        lock = threading.Lock()
        under_way = 0

        def submit(lane: In) -> None:
            nonlocal under_way
            with lock:
                under_way += 1
            self._executor.submit(go, lane)

        def go(lane: In) -> None:
            try:
                work = advance(lane)
                if work is not None:
                    submit(lane)
                    outcomes.put(([work()], None))
                    return
                with lock:
                    following = list(itertools.islice(waiting, 1))
                for other in following:
                    submit(other)
                outcomes.put(([], None))
            except BaseException as error:
                outcomes.put(([], error))

        for lane in list(begun):
            submit(lane)
        # A lane that goes on is under way before its piece is done.
        while under_way:
            try:
                results, error = outcomes.get(timeout=TICK_SECONDS)
            except Empty:
                self.show()
                continue
            with lock:
                under_way -= 1
            if error is not None:
                raise error
            yield from results

    def map(self, task: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
        """Apply `task` to every item and give all results, in item order."""
        futures = [self._executor.submit(task, item) for item in items]
        return [self.wait(future) for future in futures]

    def call(self, task: Callable[[], Out]) -> Out:
        """Run one task on a thread of the pool and wait for it."""
        return self.wait(self._executor.submit(task))

    def submit(self, task: Callable[[], Out]) -> Future[Out]:
        """Start one task on a thread of the pool; `wait` gives its result."""
        return self._executor.submit(task)

    def submit_last(self, task: Callable[[], Out]) -> Future[Out]:
        """As `submit`, but the pool takes no more and its threads end with their tasks."""
        future = self._executor.submit(task)
        self._executor.shutdown(wait=False)
        return future

    def wait(self, future: Future[Out]) -> Out:
        """The result of a task; hears Ctrl-C and moves the bar while it waits."""
        while True:
            try:
                return future.result(timeout=TICK_SECONDS)
            except NotYet:
                if future.done():
                    return future.result()
            finally:
                self.show()

    def show(self) -> None:
        """Moves the bar to where the watch is."""
        if self.bar is not None:
            self.bar.show(self.watch.done)
