"""The engines of `bench_retrieval.py`: ours, ours as on a lesser processor, and those of other libraries.

In: float32 vectors. Out: what finds the neighbours of some rows, as wide as it is told.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextlong_rs import _nextlong

__all__ = [
    "Engine",
    "Floats",
    "Ids",
    "Searcher",
    "clock",
    "elsewhere",
    "faiss_index",
    "hnswlib",
    "kernels",
    "ours",
    "pynndescent",
    "usearch",
]

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Searcher = Callable[[Ids, int, int], Ids]
"""Rows, k and width in; the neighbours of each out, the row itself possibly among them."""
Engine = Callable[[Floats], Searcher]


def package(name: str) -> Any:
    """A library, if it is installed; else the test is left out and says so."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"\nretrieval: {name.split('.')[0]} is not installed: its rows are left out")
        pytest.skip(f"{name} is not installed")


def kernels() -> list[str]:
    """The kernel of this processor, then the lesser ones that it can be measured with."""
    one = _nextlong.Vectors.from_array(np.ones((1, 8), "f4"))
    best: str = _nextlong.Search(one, "exact").kernel
    known = ["amx", "avx-512 vnni", "avx2"]
    return [best, *known[known.index(best) + 1 :]] if best in known else [best]


def ours(kind: str) -> Engine:
    def make(vectors: Floats) -> Searcher:
        core = _nextlong.Search(_nextlong.Vectors.from_array(vectors, full=True), kind)
        if kind == "clustered":
            core.build_lists()
        for shard in range(core.shard_count):
            core.build_shard(shard)
        if kind != "hnsw":
            # One query that sees every row, so that all are packed now and not in the first search.
            lists = int(4 * len(vectors) ** 0.5)  # A few more than there are.
            core.rows(np.zeros(1, dtype=np.int64), 1, lists if kind == "clustered" else 8)

        def search(rows: Ids, k: int, width: int) -> Ids:
            ids = np.empty((len(rows), k), dtype=np.int64)
            order = core.order(rows)
            for start in range(0, len(rows), 4096):
                places = order[start : start + 4096]
                ids[places] = core.rows(rows[places], k, width)[0]
            return ids

        return search

    return make


def hnswlib(vectors: Floats) -> Searcher:
    index = package("hnswlib").Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=100, M=16)
    index.add_items(vectors, num_threads=1)

    def search(rows: Ids, k: int, width: int) -> Ids:
        index.set_ef(max(width, k + 1))
        found: NDArray[np.uint64] = index.knn_query(vectors[rows], k=k + 1, num_threads=1)[0]
        return found.astype(np.int64)

    return search


def usearch(vectors: Floats) -> Searcher:
    scale = 127 / np.quantile(np.abs(vectors[:2048]), 0.9999)
    small = np.clip(np.rint(vectors * scale), -127, 127).astype(np.int8)
    index = package("usearch.index").Index(
        ndim=vectors.shape[1], metric="ip", dtype="i8", connectivity=16, expansion_add=128
    )
    index.add(np.arange(len(small)), small, threads=1)

    def search(rows: Ids, k: int, width: int) -> Ids:
        index.expansion_search = width
        kept = index.search(small[rows], min(3 * k, width), threads=1).keys.astype(np.int64)
        best = np.empty((len(rows), min(k + 1, kept.shape[1])), dtype=np.int64)
        for start in range(0, len(rows), 1024):
            part = slice(start, start + 1024)
            scores = np.einsum("qd,qkd->qk", vectors[rows[part]], vectors[kept[part]])
            order = np.argsort(-scores, axis=1)[:, : best.shape[1]]
            best[part] = np.take_along_axis(kept[part], order, axis=1)
        return best

    return search


def faiss_index(kind: str) -> Engine:
    def make(vectors: Floats) -> Searcher:
        faiss = package("faiss")
        faiss.omp_set_num_threads(1)
        if kind == "flat":
            index = faiss.IndexFlatIP(vectors.shape[1])
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 100
        else:
            lists = int(np.sqrt(len(vectors)) * 3.2)
            quantizer = faiss.IndexFlatIP(vectors.shape[1])
            index = faiss.IndexIVFFlat(
                quantizer, vectors.shape[1], lists, faiss.METRIC_INNER_PRODUCT
            )
            index.cp.niter = 6
            index.cp.max_points_per_centroid = 32
            index.train(vectors)
        index.add(vectors)

        def search(rows: Ids, k: int, width: int) -> Ids:
            if kind == "hnsw":
                index.hnsw.efSearch = max(width, k + 1)
            elif kind == "ivf":
                index.nprobe = width
            ids: Ids = index.search(vectors[rows], k + 1)[1]
            return ids

        return search

    return make


def pynndescent(vectors: Floats) -> Searcher:
    """The graph of all rows: as many neighbours as the width, made anew for each."""
    module = package("pynndescent")

    def graph(some: Floats, width: int) -> Ids:
        descent = module.NNDescent(
            some, metric="cosine", n_neighbors=width, n_jobs=1, random_state=0
        )
        ids: Ids = descent.neighbor_graph[0]
        return ids

    graph(vectors[:2000], 11)  # It compiles itself at first, which is not counted.
    return lambda rows, k, width: graph(vectors, width)[rows]


_seconds_elsewhere = 0.0
_search_here: Searcher | None = None


def clock() -> float:
    """CPU seconds of engines: of this process, or of one that `elsewhere` started."""
    return time.process_time() + _seconds_elsewhere


def elsewhere(kind: str, kernel: str) -> Engine:
    """Ours in a process of its own, whose products take no more than `kernel`.

    The compiler's own vectors (where scores are held against thresholds, where candidates are ranked)
    still take all that the processor has.
    """

    def make(vectors: Floats) -> Searcher:
        held = os.environ.get("NEXTLONG_KERNEL")
        os.environ["NEXTLONG_KERNEL"] = kernel
        try:
            process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "vectors.npy"
                started = time.process_time()
                np.save(path, vectors)
                _charge(process.submit(_make_here, path, kind).result(), started)
        finally:
            del os.environ["NEXTLONG_KERNEL"]
            if held is not None:
                os.environ["NEXTLONG_KERNEL"] = held

        def search(rows: Ids, k: int, width: int) -> Ids:
            started = time.process_time()
            ids, seconds = process.submit(_search, rows, k, width).result()
            _charge(seconds, started)
            return ids

        return search

    return make


def _charge(seconds: float, started: float) -> None:
    """Counts the seconds of the other process instead of those that this one takes to ask it."""
    global _seconds_elsewhere
    _seconds_elsewhere += seconds - (time.process_time() - started)


def _make_here(path: Path, kind: str) -> float:
    global _search_here
    vectors = np.load(path)
    started = time.process_time()
    _search_here = ours(kind)(vectors)
    return time.process_time() - started


def _search(rows: Ids, k: int, width: int) -> tuple[Ids, float]:
    assert _search_here is not None
    started = time.process_time()
    return _search_here(rows, k, width), time.process_time() - started
