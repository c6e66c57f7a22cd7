"""A search engine over stored vectors: built or loaded, and measured.

In: vectors and the settings of a search. Out: the engine that `index=` of a run or of `knn` names,
which finds the nearest rows of any row.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool
from nextlong_rs.index.arrays import row_numbers
from nextlong_rs.rules import checked
from nextlong_rs.run.memory import KEPT_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nextlong_rs.run.tasks import Tasks

__all__ = ["Search", "choose", "measured"]


class Search:
    """An engine over stored vectors, ready for queries from any thread.

    How wide it is searched grows with the number of neighbours: it is measured for each depth when
    it is first asked for, on a seeded sample of the queries, and follows from the vectors, the sample
    and the depth alone.

    Attributes:
        engine: `"exhaustive"`, `"exact"`, `"clustered"` or `"hnsw"`.
        reason: Why this engine, and how wide it has to search for the `k` of `open`.
        recall: Recall at the `k` of `open`, on the sample.
        widened: Whether the first breadth that was tried was not enough for `min_recall`.
        tried: Each breadth that was tried at the `k` of `open`, with its recall.
        lists: Lists that a query of the clustered scan looks into at that `k`, on average.
        copies: Share of copies in a sample of the vectors of a graph; 0 for other engines.
        kernel: The instruction set of the products; `"serial"` is the slow one.
    """

    __slots__ = (
        "_breadths",
        "_core",
        "_depths",
        "_rows",
        "_threads",
        "copies",
        "engine",
        "kernel",
        "lists",
        "reason",
        "recall",
        "tried",
        "widened",
    )

    def __init__(
        self,
        core: _nextlong.Search,
        depths: _nextlong.Depths,
        reason: str,
        *,
        k: int,
        rows: int,
        pool: Pool,
    ) -> None:
        """Made by `Search.open`."""
        self._core = core
        self._depths = depths
        self._rows = rows
        self._threads = pool.threads
        (self.recall, _, breadth, tried), self.lists = pool.call(
            lambda: depths.at(k, pool.threads, pool.watch)
        )
        self._breadths: dict[int, tuple[int, int | None]] = {k: breadth}
        self.tried = [(_told(width, core.square), recall) for width, recall in tried]
        self.copies = depths.copies
        self.engine = core.engine
        self.kernel = core.kernel
        self.widened = len(self.tried) > 1
        self.reason = reason + _widening(self.tried)

    @classmethod
    def open(
        cls,
        vectors: _nextlong.Vectors,
        *,
        index: str = "auto",
        expected_queries: int,
        k: int,
        min_recall: float = 0.95,
        groups: NDArray[np.uint32] | None = None,
        folder: str | os.PathLike[str] | None = None,
        kept: int = KEPT_BYTES,
        tasks: Tasks | None = None,
        rows: NDArray[np.int64] | None = None,
        seed: int = 0,
        pool: Pool,
    ) -> Search:
        """Choose the engine, build what it needs, and measure its recall.

        Args:
            vectors: `[n, d]`, float16, mapped or held. Of any length; a row of zeros scores 0.
            index: `"exhaustive"`, `"exact"`, `"clustered"`, `"hnsw"`, or `"auto"`: the cheapest of
                the last three by a model of n, d, `k`, `min_recall` and `expected_queries`, the same
                on every machine; the exact scan where that one has to search too wide.
            expected_queries: How many queries will be searched, about.
            k: Neighbours wanted of each, about; a search may ask for any other number.
            min_recall: Recall to reach at every depth; below it the search is made wider until it
                very probably holds for all queries.
            groups: uint32 `[n]`, the document number of each row: rows of the query's own group are
                no neighbours. None: only the row itself is none.
            folder: Where lists or HNSW shards are written. None: they are held in memory only.
            kept: Bytes of packed rows that a scan may keep in memory between calls.
            tasks: The markers of a run's stage: lists or shards of `folder` that are done are loaded
                instead of built, and each is marked when it is built.
            rows: The rows that will be queries, if known: the sample is taken from them.
            seed: Fixes the samples for the scale of the int8 values, the lists and recall.
            pool: The threads for building and measuring; its watch counts the rows that are built
                into lists or shards.

        Returns:
            The engine, ready.

        Raises:
            ConfigError: A setting is wrong.
            RetrievalError: The vectors cannot be searched.
            RunError: A file in `folder` is damaged or of other vectors.
        """
        index = checked("index", index)
        k, seed = checked("k", k), checked("seed", seed)
        min_recall = checked("min_recall", min_recall)
        candidates = np.arange(len(vectors)) if rows is None else row_numbers(rows, len(vectors))
        return measured(
            vectors,
            index,
            expected_queries,
            k,
            min_recall,
            lambda core: core.depths_of_rows(candidates, min_recall, True),
            groups=groups,
            folder=folder,
            kept=kept,
            tasks=tasks,
            seed=seed,
            pool=pool,
        )

    @property
    def identity(self) -> list[Any]:
        """What the results of all searches follow from, beside the vectors and who may not be whose
        neighbour.
        """
        return [
            self.engine,
            self.reason,
            self._depths.rows.tolist(),
            sorted(self._breadths.items()),
        ]

    def measure(self, k: int, pool: Pool) -> float:
        """Measure how wide to search for the `k` nearest, before the first search asks for it.

        Args:
            k: Neighbours of each query.
            pool: The threads for it.

        Returns:
            Recall at `k`, on the sample.
        """
        (recall, _, self._breadths[k], _), _ = pool.call(
            lambda: self._depths.at(k, pool.threads, pool.watch)
        )
        return recall

    def recall_of(
        self, rows: NDArray[np.int64], total: int, k: int, pool: Pool
    ) -> tuple[float, float]:
        """Recall of the searches of some rows.

        Args:
            rows: int64 `[q]`, a random sample of `total` rows that were searched.
            total: The number of rows that the sample stands for.
            k: The number of neighbours that they were searched for.
            pool: The threads for it.

        Returns:
            Recall@k against exhaustive search, and its standard error.
        """
        return pool.call(lambda: self._depths.recall_of(rows, total, k, pool.threads, pool.watch))

    def _breadth(self, k: int) -> tuple[int, int | None]:
        if k not in self._breadths:
            self._breadths[k] = self._depths.at(k, self._threads)[0][2]
        return self._breadths[k]

    def search(
        self,
        rows: NDArray[np.int64],
        k: int,
        *,
        hidden: _nextlong.Hidden | None = None,
        watch: _nextlong.Watch | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest rows of some rows, on the calling thread alone.

        Results do not depend on how the queries are cut into calls: fan the calls out.

        Args:
            rows: int64 `[q]`, row numbers; a row is never its own neighbour.
            k: Neighbours of each, any number.
            hidden: Rows that are nobody's neighbours, which makes the search wider. Default: none.
            watch: Counts the queries answered; its `cancel` stops the call.

        Returns:
            ids int64 `[q, k]` (-1 where there are fewer) and scores float32 `[q, k]` (-inf there),
            by score falling, id rising.
        """
        k = checked("k", k)
        width, gap = self._breadth(k if hidden is None else hidden.reach(k, self._rows))
        return self._core.rows(
            np.ascontiguousarray(rows, dtype=np.int64), k, width, watch, hidden, gap
        )

    def order(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The order in which to search some rows, as their places among them."""
        return self._core.order(rows)

    def _search_values(
        self, values: NDArray[np.float32], k: int, *, watch: _nextlong.Watch | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        width, gap = self._breadth(k)
        return self._core.values(values, k, width, watch, gap)


def choose(
    index: str, vectors: _nextlong.Vectors, queries: int, k: int, min_recall: float
) -> tuple[str, str]:
    """The engine that `index` means for so many queries, and why."""
    if index == "auto":
        return _nextlong.choose_engine(len(vectors), queries, k, vectors.dim, min_recall)
    return index, f"{index}: asked for"


def measured(
    vectors: _nextlong.Vectors,
    index: str,
    queries: int,
    k: int,
    min_recall: float,
    sampled: Callable[[_nextlong.Search], _nextlong.Depths],
    *,
    seed: int,
    pool: Pool,
    **options: Any,
) -> Search:
    """The engine, built and measured; the exact scan where `"auto"` took one that has to search too
    wide.
    """
    core, reason = _engine(vectors, index, queries, k, min_recall, seed=seed, pool=pool, **options)
    search = Search(core, sampled(core), reason, k=k, rows=len(vectors), pool=pool)
    if index != "auto" or core.engine == "exact":
        return search
    # Products of lists take twice as long: from half of the lists on the scan of all rows is faster.
    if search.recall >= min_recall and search.lists <= core.list_count / 2:
        return search
    why = (
        f"exact: {search.reason}, which is too wide or finds too little, so all vectors are scanned"
    )
    options = {name: options[name] for name in ("groups", "kept") if name in options}
    core, _ = _engine(vectors, "exact", queries, k, min_recall, seed=seed, pool=pool, **options)
    return Search(core, sampled(core), why, k=k, rows=len(vectors), pool=pool)


def _engine(
    vectors: _nextlong.Vectors,
    index: str,
    queries: int,
    k: int,
    min_recall: float,
    *,
    groups: NDArray[np.uint32] | None = None,
    folder: str | os.PathLike[str] | None = None,
    kept: int = KEPT_BYTES,
    tasks: Tasks | None = None,
    seed: int,
    pool: Pool,
) -> tuple[_nextlong.Search, str]:
    """The engine with its shards built, and why it was chosen."""
    engine, reason = choose(index, vectors, queries, k, min_recall)
    numbers = None if groups is None else np.ascontiguousarray(groups, dtype=np.uint32)
    core = _nextlong.Search(
        vectors,
        engine,
        groups=numbers,
        seed=seed,
        callers=max(pool.threads, 2),
        keep_bytes=kept,
    )
    where = None if folder is None else Path(folder)

    def mark(number: int, names: str) -> None:
        if tasks is not None and where is not None:
            tasks.mark(number, sorted(path for path in where.glob(names) if path.suffix != ".tmp"))

    def build(shard: int) -> None:
        if where is not None and tasks is not None and tasks.done(shard):
            core.load_shard(shard, where)
        else:
            core.build_shard(shard, where, pool.watch)
            mark(shard, f"shard-{shard:04}.*")

    if engine == "clustered":
        if where is not None and tasks is not None and tasks.done(0):
            core.load_lists(where)
        else:
            pool.call(lambda: core.build_lists(where, pool.threads, pool.watch))
            mark(0, "list*.npy")
    for _ in pool.in_order(build, range(core.shard_count)):
        pass
    if tasks is not None:
        tasks.finish(core.shard_count + (engine == "clustered"))
    if core.kernel == "serial":
        warnings.warn(
            "no SIMD kernel for int8 products on this processor: search will be slow", stacklevel=3
        )
    return core, reason


def _told(breadth: tuple[int, int | None], square: int) -> str:
    """How wide a search is: a number that each engine takes otherwise, or a difference of cosines."""
    width, gap = breadth
    return f"{width}" if gap is None else f"within {gap / square:.3f}"


def _widening(tried: list[tuple[str, float]]) -> str:
    steps = ", then ".join(f"{breadth} ({recall:.4f})" for breadth, recall in tried)
    return f"; breadth (recall): {steps}"
