"""Batches of documents, searched on the pool's threads ahead of the pass, which takes them in order.

In: the documents to try. Out: batches (waves) whose neighbours are found and filtered. Their borders
depend on the documents and on what the pass left out of them, never on how far the search is ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool
from nextlong_rs.settings import Settings

__all__ = ["Waves", "most_documents", "search_pieces", "wave_borders"]

_FOUND_BYTES = 1 << 24
"""Neighbours that one search gives, at most."""
_LEAST = 16
"""Documents of a wave, but for the last one."""
_WAVE_TOKENS = 1 << 25
"""Tokens of the sequences of a wave, about: their ids are held in memory until they are written, which
is while the next wave is at its turn.
"""


class Waves:
    """The waves of a run.

    Attributes:
        closed: How many the pass is through with.
    """

    def __init__(
        self,
        documents: NDArray[np.uint32],
        settings: Settings,
        opened: Callable[[int, NDArray[np.uint32]], _nextlong.Wave],
        pool: Pool,
    ) -> None:
        """Waves of `documents`, each by its number and documents made ready by `opened`."""
        self.closed = 0
        self._settings = settings
        self._opened = opened
        self._pool = pool
        self._under_way: deque[Future[_nextlong.Wave]] = deque()
        self._lay(documents)

    def __bool__(self) -> bool:
        return len(self.rest) > 0

    @property
    def rest(self) -> NDArray[np.uint32]:
        """The documents of the waves that are not closed."""
        return self._documents[self._borders[self.closed - self._first] :]

    def close(self, sift: Callable[[NDArray[np.uint32]], NDArray[np.uint32] | None]) -> None:
        """Ends with the first wave that is open; goes on with what `sift` leaves of `rest`, if it
        leaves anything out.
        """
        self.closed += 1
        left = sift(self.rest)
        if left is not None:
            self.stop()
            self._lay(left)

    def next(self, wanted: int) -> _nextlong.Wave:
        """The first wave that is not closed, opened; `wanted` sequences are still to be made."""
        self._look_ahead(self.closed, wanted)
        wave = self._pool.wait(self._under_way.popleft())
        self._look_ahead(self.closed + 1, wanted)
        return wave

    def stop(self) -> None:
        """Ends looking ahead."""
        for opened in self._under_way:
            opened.cancel()
        wait_for(self._under_way)
        self._under_way.clear()

    def _lay(self, documents: NDArray[np.uint32]) -> None:
        self._documents, self._first = documents, self.closed
        self._borders = wave_borders(len(documents), self._settings)

    def _look_ahead(self, first: int, wanted: int) -> None:
        """Opens the waves from `first` on: as many as threads, and none beyond the last needed."""
        borders = self._borders
        begun = borders[self.closed - self._first]
        while len(self._under_way) <= self._pool.threads:
            number = first + len(self._under_way)
            place = number - self._first
            if place >= len(borders) - 1 or borders[place] - begun >= wanted:
                return
            documents = self._documents[borders[place] : borders[place + 1]]
            self._under_way.append(self._pool.submit(partial(self._opened, number, documents)))


def wave_borders(documents: int, settings: Settings) -> list[int]:
    """Where the waves begin, and the end of the last.

    A wave has enough documents to search together, few enough to waste none, and no more tokens than
    can be held: those that are tried only because others could not be sequences come in smaller ones.
    """
    size = most_documents(settings)
    wanted = documents if settings.num_sequences is None else settings.num_sequences
    borders = [0]
    while borders[-1] < documents:
        step = size if borders[-1] < wanted else max(size // 4, _LEAST)
        borders.append(min(borders[-1] + step, documents))
    return borders


def most_documents(settings: Settings) -> int:
    """The documents of a wave, at most."""
    most = min(max(_WAVE_TOKENS // settings.seq_len, _LEAST), 256)
    if settings.num_sequences is None:
        return most
    return min(max(-(-settings.num_sequences // 8), _LEAST), most)


def search_pieces(
    wanted: Sequence[tuple[int, NDArray[np.int64], bool]], threads: int
) -> Iterator[tuple[int, NDArray[np.int64], bool]]:
    """Searches (k, rows, open) cut so that so many threads share them and none gives too much at once."""
    for k, rows, is_open in wanted:
        by_size = -(-len(rows) * k * 12 // _FOUND_BYTES)
        shared = min(threads * 2, len(rows) // 8) if threads > 1 else 1
        for piece in np.array_split(rows, min(max(by_size, shared, 1), len(rows))):
            yield k, piece, is_open
