"""Nearest neighbours by cosine: vectors in, the `k` nearest rows of each query out."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool
from nextlong_rs.engine.progress import Bar
from nextlong_rs.index.arrays import blocks_of, empty_results, query_arrays, unit_rows
from nextlong_rs.index.recall import low_recall
from nextlong_rs.index.search import measured
from nextlong_rs.rules import checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Neighbours", "knn"]


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
    index = checked("index", index)
    k, seed = checked("k", k), checked("seed", seed)
    min_recall = checked("min_recall", min_recall)
    with Pool(threads) as pool:
        given, full = unit_rows(vectors, "vectors", pool)
        stored = _nextlong.Vectors.from_array(given, full=full, threads=pool.threads)
    del given
    rows, values = query_arrays(queries, len(stored), stored.dim)
    count = len(rows) if values is None else len(values)
    ids, scores = empty_results(count, k)
    with Pool(threads) as pool:
        search = measured(
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
