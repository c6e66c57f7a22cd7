"""A persistent index: vectors are added over time, and searched by later queries."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool, thread_count
from nextlong_rs.engine.progress import Bar
from nextlong_rs.errors import ConfigError, RetrievalError
from nextlong_rs.index.arrays import blocks_of, empty_results, query_arrays, unit_rows
from nextlong_rs.index.knn import Neighbours
from nextlong_rs.index.recall import low_recall
from nextlong_rs.rules import checked
from nextlong_rs.run.files import write_json

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Index"]

_MANIFEST = "index.json"
_FORMAT = "nextlong_rs index 2"
_FILE = re.compile(r"(vectors|shard)-\d+-\d+-[0-9a-f]{32}\.(npy|usearch)")

# A manifest is a line for each file: far below this, even for billions of rows.
_MANIFEST_BYTES = 1 << 24

_File = tuple[str, int, str]

_Width = tuple[int, int | None]
_Measured = tuple[tuple[float, float, _Width, list[tuple[_Width, float]]], float]

_Breadths = dict[tuple[int, float], _Measured]


class Index:
    """Vectors that are kept, grown and searched by cosine: an HNSW graph in shards, and a scan.

    The rows are cut into shards by their number alone; each is built by one thread, the newest rows
    (fewer than 16,384) are scanned in int8, and what is found is ranked by the vectors, which are
    held as float16. So the same rows in the same order give the same index and the same neighbours,
    in whatever pieces they are added, at any thread count, saved and loaded or not. Adding builds
    the shards that change: the new rows, and now and then four shards anew as one.

    Searches may run in several threads at once, also while rows are added: those under way see the
    rows there were when they began. For one bulk search of vectors that do not change, `knn` is
    faster: it needs no graph.

    Example:
        >>> index = Index.build(np.eye(4, dtype=np.float32))
        >>> index.add(np.array([[0.9, 0.1, 0.0, 0.0]]))
        >>> index.search(np.array([[1.0, 0.0, 0.0, 0.0]]), 2).ids.tolist()
        [[0, 4]]
    """

    __slots__ = ("_growing", "_state")

    def __init__(self, graph: _nextlong.Graph) -> None:
        """Made by `Index.build` and `Index.load`."""
        # The graph, and by (k, min_recall) how wide it is to be searched: replaced as one.
        self._state: tuple[_nextlong.Graph, _Breadths] = (graph, {})
        self._growing = threading.Lock()

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        *,
        seed: int = 0,
        threads: int | None = None,
        progress: bool = False,
    ) -> Index:
        """Make an index of some vectors.

        Args:
            vectors: float16, float32 or float64 `[n, d]`, of any length; they are made unit vectors
                and held as float16. `[0, d]` makes an empty index, to be grown.
            seed: Fixes the samples for the int8 scale of each shard and for recall.
            threads: Threads, one shard each; None: one a core.
            progress: Whether a bar is shown on stderr.

        Returns:
            The index; row `i` of the vectors is id `i`.

        Raises:
            ConfigError: A setting or an array has the wrong kind, shape or values.
            RetrievalError: There are too many vectors.
        """
        seed = checked("seed", seed)
        stored = _nextlong.Vectors.from_array(unit_rows(vectors, "vectors")[0])
        callers = max(thread_count(None), thread_count(threads), 2)
        graph = _nextlong.Graph(stored, seed=int(seed), callers=callers)
        _build(graph, threads, progress)
        return cls(graph)

    def add(
        self, vectors: ArrayLike, *, threads: int | None = None, progress: bool = False
    ) -> None:
        """Add vectors behind those that are there.

        Args:
            vectors: As of `build`, with the dimensions of the index; the first becomes id
                `len(index)`.
            threads: Threads, one shard each; None: one a core.
            progress: Whether a bar is shown on stderr.

        Raises:
            ConfigError: A setting or the array has the wrong kind, shape or values; the index is
                as it was.
        """
        thread_count(threads)
        more, _ = unit_rows(vectors, "vectors")
        if more.shape[1] != self.dim:
            raise ConfigError(
                f"vectors have {more.shape[1]} dimensions, the index {self.dim}; "
                "make another index for them"
            )
        with self._growing:
            graph = self._state[0].grown(_nextlong.Vectors.from_array(more))
            _build(graph, threads, progress)
            self._state = (graph, {})

    def search(
        self,
        queries: ArrayLike,
        k: int,
        *,
        min_recall: float | None = 0.95,
        threads: int | None = None,
        progress: bool = False,
    ) -> Neighbours:
        """Find the `k` nearest rows of each query by cosine.

        Args:
            queries: Floats `[q, d]`: these vectors. Whole numbers `[q]`: those rows; a row is never
                its own neighbour.
            k: Neighbours of each, 1 to 1,048,576; may exceed the number of rows, the rest is then
                filled with -1.
            min_recall: Recall@k to reach on a seeded sample of the rows (not of the queries), no
                two of which are copies, with a margin for the size of the sample. Below it the
                search is made wider; a warning (`UserWarning`) says so where the widest search
                stays below. It is measured by the first search with this `k` and
                `min_recall` after rows were added, which takes a moment (at 100,000 rows about a
                second) and is remembered until then. None: nothing is measured, the search is
                the narrowest and `recall` is NaN.
            threads: Threads; None: one a core. The result is the same bytes for any number.
            progress: Whether a bar is shown on stderr.

        Returns:
            Ids, scores, recall, `engine="hnsw"`, seconds and how wide it had to search.

        Raises:
            ConfigError: A setting or the array has the wrong kind, shape or values.
        """
        started = time.perf_counter()
        k = checked("k", k)
        if min_recall is not None:
            min_recall = checked("min_recall", min_recall)
        (graph, breadths), k = self._state, int(k)
        rows, values = query_arrays(queries, len(graph), graph.dim)
        count = len(rows) if values is None else len(values)
        ids, scores = empty_results(count, k)
        (recall, _, (breadth, _), tried), copies = _measured(
            graph, breadths, k, min_recall, threads
        )
        if min_recall is not None:
            warning = low_recall("hnsw", recall, k, min_recall, copies=copies)
            if warning:
                warnings.warn(warning, stacklevel=2)

        with (
            Bar("search", count, unit="query", shown=progress, scale=False) as bar,
            Pool(threads, bar=bar) as pool,
        ):

            def task(block: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
                if values is None:
                    return graph.rows(rows[block], k, breadth, pool.watch)
                return graph.values(values[block], k, breadth, pool.watch)

            blocks = blocks_of(count, k, pool.threads)
            for block, found in zip(blocks, pool.in_order(task, blocks), strict=True):
                ids[block], scores[block] = found
        steps = ", then ".join(f"{breadth} ({recall:.4f})" for (breadth, _), recall in tried)
        return Neighbours(
            ids=ids,
            scores=scores,
            recall=recall,
            engine="hnsw",
            seconds=time.perf_counter() - started,
            reason=f"hnsw: a kept index; breadth (recall): {steps or '1 (not measured)'}",
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index to a folder, vectors included; it is there whole or as it was before.

        Files have names that say what is in them and are not written twice, so saving again after
        `add` writes what changed. `index.json` comes last; files of an index that was saved here
        before are then removed.

        Args:
            folder: Made if missing. Other files in it stay.

        Raises:
            OSError: The folder cannot be written.
        """
        graph, where = self._state[0], Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        files = range(graph.vector_file_count)
        with Pool(1) as pool:
            vectors = pool.map(lambda number: graph.save_vectors(where, number), files)
            shards = pool.map(
                lambda shard: graph.save_shard(where, shard), range(graph.shard_count)
            )
        write_json(
            where / _MANIFEST,
            {
                "format": _FORMAT,
                "rows": len(graph),
                "dim": graph.dim,
                "seed": graph.seed,
                "vectors": vectors,
                "shards": shards,
            },
        )
        _sync(where)
        kept = {name for name, _, _ in [*vectors, *shards]}
        for path in where.iterdir():
            if _FILE.fullmatch(path.name) and path.name not in kept:
                path.unlink(missing_ok=True)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        threads: int | None = None,
        progress: bool = False,
    ) -> Index:
        """Load an index that `save` wrote.

        Nothing in the folder is trusted: lengths, hashes and every link of the graph are checked
        before they are used. The vectors stay in their files, memory-mapped; leave these unchanged
        while the index is in use.

        Args:
            folder: Where it was saved.
            threads: Threads, one shard each; None: one a core.
            progress: Whether a bar is shown on stderr.

        Returns:
            The index, as it was.

        Raises:
            RetrievalError: There is no index, or it is damaged.
        """
        where = Path(folder)
        rows, dim, seed, vectors, shards = _manifest(where)
        callers = max(thread_count(None), thread_count(threads), 2)
        with (
            Bar("load index", len(shards), unit="shard", shown=progress, scale=False) as bar,
            Pool(threads, bar=bar) as pool,
        ):
            stored = pool.call(lambda: _nextlong.Graph.load_vectors(where, vectors, rows, dim))
            graph = _nextlong.Graph(stored, seed=seed, callers=callers)
            if graph.shard_count != len(shards):
                raise RetrievalError(
                    f"{where}: {len(shards)} shards where {graph.shard_count} should be; "
                    "build the index again"
                )

            def load(shard: int) -> None:
                graph.load_shard(where, shard, shards[shard])
                pool.watch.add(1)

            for _ in pool.in_order(load, range(len(shards))):
                pass
        return cls(graph)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._state[0])

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return self._state[0].dim

    def __repr__(self) -> str:
        """Rows, dimensions and shards."""
        return f"Index({len(self):,} rows, dim={self.dim}, shards={self._state[0].shard_count})"


def _measured(
    graph: _nextlong.Graph,
    breadths: _Breadths,
    k: int,
    min_recall: float | None,
    threads: int | None,
) -> _Measured:
    """Recall and its error, the breadth that it wants, and all that were tried; the share of copies."""
    if min_recall is None:
        return (float("nan"), 0.0, (1, None), []), 0.0
    wanted = (k, float(min_recall))
    if wanted not in breadths:
        with Pool(threads) as pool:
            breadths[wanted] = pool.call(lambda: graph.measure(*wanted, pool.threads, pool.watch))
    return breadths[wanted]


def _build(graph: _nextlong.Graph, threads: int | None, progress: bool) -> None:
    """Builds the shards that are missing, one thread each."""
    missing = graph.missing
    total = sum(graph.shard_rows(shard) for shard in missing)
    with (
        Bar("build index", total, unit="vector", shown=progress, scale=False) as bar,
        Pool(threads, bar=bar) as pool,
    ):
        for _ in pool.in_order(lambda shard: graph.build_shard(shard, pool.watch), missing):
            pass


def _manifest(folder: Path) -> tuple[int, int, int, list[_File], list[_File]]:
    """Rows, dimensions, seed, and the files of vectors and shards."""
    path = folder / _MANIFEST
    try:
        with path.open("rb") as file:
            text = file.read(_MANIFEST_BYTES + 1)
    except OSError as error:
        raise RetrievalError(
            f"{path} cannot be read ({error.strerror}); give the folder of `Index.save`"
        ) from error
    try:
        if len(text) > _MANIFEST_BYTES:
            raise ValueError("it is too long")
        found = json.loads(text)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise ValueError(f"it is not of the format '{_FORMAT}'")
        rows, dim, seed = (_whole(found, name) for name in ("rows", "dim", "seed"))
        if dim == 0 or dim >= 1 << 32 or rows >= 1 << 32:
            raise ValueError("rows or dim is out of range")
        return rows, dim, seed, _files(found, "vectors"), _files(found, "shards")
    except (ValueError, RecursionError) as error:
        raise RetrievalError(
            f"{path} is damaged or of another version ({error}); build the index again"
        ) from error


def _whole(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ValueError(f"{name} is {value!r}")
    return value


def _files(found: dict[str, Any], kind: str) -> list[_File]:
    listed = found.get(kind)
    if not isinstance(listed, Sequence):
        raise ValueError(f"{kind} is no list")
    files = []
    for entry in listed:
        match entry:
            case [str(name), int(size), str(digest)] if (
                _FILE.fullmatch(name)
                and 0 <= size < 1 << 63
                and re.fullmatch("[0-9a-f]{32}", digest)
            ):
                files.append((name, size, digest))
            case _:
                raise ValueError(f"{kind} has the entry {entry!r}")
    return files


def _sync(folder: Path) -> None:
    """Makes renames in a folder last, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
