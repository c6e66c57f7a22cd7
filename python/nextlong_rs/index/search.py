"""Nearest neighbours by cosine: vectors in, the `k` nearest rows of each query out.

The room behind `index=` of a run, and usable alone through `knn`; recall is measured.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool
from nextlong_rs.engine.progress import Bar
from nextlong_rs.index.arrays import blocks_of, check, query_arrays, room, row_numbers, unit_rows
from nextlong_rs.run.memory import KEPT_BYTES
from nextlong_rs.stage.recall import low_recall

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from nextlong_rs.run.tasks import Tasks

__all__ = ["Neighbours", "Search", "knn"]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest rows of each query.

    Attributes:
        ids: int64 `[q, k]`, row numbers, nearest first; -1 where there are fewer than `k`.
        scores: float32 `[q, k]`, their cosines; `-inf` where the id is -1.
        recall: Share of the true `k` nearest that were found, measured on a seeded sample of the
            queries, no two of which are copies, against exhaustive search, in full precision, of
            the vectors as they are held: `knn` holds float32 and float64 as float32, a run and
            `Index` hold float16.
        engine: `"exhaustive"`, `"exact"`, `"clustered"` or `"hnsw"`.
        seconds: Wall-clock time of the whole call.
        reason: Why this engine, and how wide it had to search.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    recall: float
    engine: str
    seconds: float
    reason: str


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
        check(index=index, k=k, min_recall=min_recall, seed=seed)
        candidates = np.arange(len(vectors)) if rows is None else row_numbers(rows, len(vectors))
        return _measured(
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
        check(k=k)
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


def knn(
    vectors: ArrayLike,
    k: int,
    *,
    queries: ArrayLike | None = None,
    index: str = "auto",
    min_recall: float = 0.95,
    threads: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Neighbours:
    """Find the `k` nearest vectors of each query by cosine, with measured recall.

    Args:
        vectors: float16, float32 or float64 `[n, d]`, of any length; they are made unit vectors and
            held as float32 (float16 as float16, with half the memory). A row of zeros has the
            cosine 0 with all others.
        k: Neighbours of each query, 1 to 1,048,576; may exceed n, the rest is then filled with -1.
        queries: None: every row. Whole numbers `[q]`: those rows; a row is never its own neighbour.
            Floats `[q, d]`: these vectors.
        index: `"exhaustive"` (all vectors compared in float32), `"exact"` (all vectors scanned in
            int8, the best of them ranked again in float32: about 1 neighbour in 5,000 is missed),
            `"clustered"` (the same scan of the most similar parts of the vectors), `"hnsw"` (a
            graph), or `"auto"`: the cheapest of the last three by a model of n, d, q, `k` and
            `min_recall`, and the exact scan where that one has to search too wide. It takes the
            constants of one kind of processor everywhere, so that the result does not depend on the
            machine; `reason` has its estimate for each engine.
        min_recall: Recall@k to reach on a seeded sample of the queries, no two of which are copies,
            with a margin for the size of the sample. Below it the search is made wider; a warning
            (`UserWarning`) says so where the widest search of an engine asked for by name stays
            below.
        threads: Threads; None: one a core. The result is the same bytes for any number.
        seed: Fixes the samples for the int8 scale, the lists and recall.
        progress: Whether a bar is shown on stderr.

    Returns:
        Ids, scores, recall, engine, seconds and the reason for the engine.

    Raises:
        ConfigError: A setting or an array has the wrong kind, shape or values.
        RetrievalError: The index cannot be built or searched.

    Example:
        >>> import numpy as np
        >>> found = knn(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 2)
        >>> found.ids.tolist()
        [[1, 2], [0, 2], [1, 0]]
    """
    started = time.perf_counter()
    check(index=index, k=k, min_recall=min_recall, seed=seed)
    with Pool(threads) as pool:
        given, full = unit_rows(vectors, "vectors", pool)
        stored = _nextlong.Vectors.from_array(given, full=full, threads=pool.threads)
    del given
    rows, values = query_arrays(queries, len(stored), stored.dim)
    count = len(rows) if values is None else len(values)
    ids, scores = room(count, k)
    with Pool(threads) as pool:
        search = _measured(
            stored,
            index,
            count,
            k,
            min_recall,
            lambda core: (
                core.depths_of_rows(rows, min_recall, False)
                if values is None
                else core.depths_of_values(values, min_recall)
            ),
            seed=seed,
            pool=pool,
        )
    warning = low_recall(search.engine, search.recall, k, min_recall, copies=search.copies)
    if warning:
        warnings.warn(warning, stacklevel=2)
    # Queries that look into the same parts are searched together; each goes back to its place.
    order = np.arange(count) if values is not None else search.order(rows)

    with (
        Bar("search", count, unit="query", shown=progress, scale=False) as bar,
        Pool(threads, bar=bar) as pool,
    ):

        def task(block: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            if values is None:
                return search.search(rows[order[block]], k, watch=pool.watch)
            return search._search_values(values[block], k, watch=pool.watch)

        blocks = blocks_of(count, k, pool.threads)
        for block, (some_ids, some_scores) in zip(blocks, pool.in_order(task, blocks), strict=True):
            ids[order[block]], scores[order[block]] = some_ids, some_scores
    return Neighbours(
        ids=ids,
        scores=scores,
        recall=search.recall,
        engine=search.engine,
        seconds=time.perf_counter() - started,
        reason=search.reason,
    )


def choose(
    index: str, vectors: _nextlong.Vectors, queries: int, k: int, min_recall: float
) -> tuple[str, str]:
    """The engine that `index` means for so many queries, and why."""
    if index == "auto":
        return _nextlong.choose_engine(len(vectors), queries, k, vectors.dim, min_recall)
    return index, f"{index}: asked for"


def _measured(
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
