"""Output files while they are written: each grows as its sequences are decided.

In: the selector, as its pass goes on. Out: complete files under temporary names, which the stage `write`
renames.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nextlong_rs import _nextlong
from nextlong_rs.run.files import file_sha256

if TYPE_CHECKING:
    from nextlong_rs.engine.pool import Pool
    from nextlong_rs.run.directory import Run

__all__ = ["PART_TOKENS", "Parts", "Written"]

PART_TOKENS = 1 << 24
"""Tokens in an output file: 64 MiB of ids, one row group."""


class Written(NamedTuple):
    """An output file that is whole, perhaps not yet under its name."""

    path: Path
    rows: int
    tokens: int
    sha256: str


class _Part:
    """A file under way. One task at a time has it, so it needs no lock."""

    def __init__(self, path: Path, start: int, stop: int) -> None:
        self.path, self.start, self.stop = path, start, stop
        self.next = start
        self.core: _nextlong.Part | None = None
        self.written: Written | None = None
        self.task: Future[None] | None = None


class Parts:
    """The output files of a run.

    Attributes:
        rows: The sequences of a file; the last one may have fewer.
    """

    def __init__(
        self,
        run: Run,
        store: _nextlong.ChunkStore,
        selector: _nextlong.Selector,
        seq_len: int,
        metadata: str,
    ) -> None:
        """Begins none of them."""
        self.rows = max(1, PART_TOKENS // seq_len)
        self._run = run
        self._store = store
        self._selector = selector
        self._metadata = metadata
        self._parts: list[_Part] = []
        self._whole = 0

    def grow(self, pool: Pool, watch: _nextlong.Watch) -> None:
        """Has what is decided by now written on the threads of the pool, each file by one at a time.

        Raises:
            Exception: What an earlier task of these files ended with.
        """
        decided = len(self._selector)
        self.begin(decided)
        for part in self._parts[self._whole :]:
            if part.task is not None:
                if not part.task.done():
                    continue
                part.task.result()
            if part.written is None:
                part.task = pool.submit(partial(self._write, part, decided, watch))
            elif part is self._parts[self._whole]:
                self._whole += 1

    def begin(self, count: int) -> None:
        """Makes places for the files of so many sequences; they are created when they are written."""
        for number in range(len(self._parts), -(-count // self.rows)):
            path = self._run.part("select", number, "parquet.tmp")
            self._parts.append(_Part(path, number * self.rows, (number + 1) * self.rows))

    def finish(self, number: int, stop: int, watch: _nextlong.Watch) -> Written:
        """Writes what is left of a file up to the sequence `stop`, when no task writes any more."""
        part = self._parts[number]
        if part.task is not None and not part.task.cancelled():
            part.task.result()
        part.stop = stop
        watch.add(part.next - part.start)
        if part.written is None:
            self._write(part, stop, watch)
            assert part.written is not None
        return part.written

    def discard(self, number: int) -> None:
        """Removes what was written of a file that is there already."""
        part = self._parts[number]
        part.core = None
        if part.written is not None:
            part.path.unlink()

    @property
    def bytes_on_disk(self) -> int:
        """What the files take by now."""
        return sum(path.stat().st_size for path in self._folder.glob("*.parquet.tmp*"))

    @property
    def _folder(self) -> Path:
        return self._run.work / "select"

    def _write(self, part: _Part, decided: int, watch: _nextlong.Watch) -> None:
        selector, store = self._selector, self._store
        if part.core is None:
            part.core = _nextlong.Part(part.path, part.start, self._metadata)
        if decided < part.stop:
            part.next = part.core.grow(selector, store, decided, watch)
            return
        rows, tokens, _ = part.core.finish(selector, store, part.stop, watch)
        part.core, part.next = None, part.stop
        part.written = Written(part.path, rows, tokens, file_sha256(part.path))
