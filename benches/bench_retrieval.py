"""Bulk joins at equal recall: ours beside faiss, hnswlib, pynndescent and usearch, index included.

Input: LSA vectors of the corpus cut at 1,024 characters, or at fewer where it does not have the rows
then; `NEXTLONG_BENCH_ROWS` (default 100,000) sets how many. Unit: queries answered in a CPU second of
one core, the making of the index included. Every library searches wider until it has the recall of its
stage; only the width that has it is counted. A library that is not installed is named and left out.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.chunking import chunk
from nextlong_rs.embed import Embedder
from nextlong_rs.index import knn

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Engine = Callable[[Floats], "Searcher"]
Searcher = Callable[[Ids, int, int], Ids]
"""Rows, k and width in; the neighbours of each out, the row itself possibly among them."""

ROWS = int(os.environ.get("NEXTLONG_BENCH_ROWS", "100000"))
DIM = 256
TRUTHS = 500


class Bench:
    """The vectors, the truth, and every index that was made so far with the CPU seconds it took."""

    def __init__(self, vectors: Floats) -> None:
        self.vectors = vectors
        self.made: dict[str, tuple[float, Searcher]] = {}
        self.truths: dict[tuple[int, int], tuple[Ids, Floats]] = {}

    def index(self, name: str, engine: Engine) -> tuple[float, Searcher]:
        if name not in self.made:
            started = time.process_time()
            searcher = engine(self.vectors)
            self.made[name] = (time.process_time() - started, searcher)
        return self.made[name]

    def truth(self, queries: Ids, k: int) -> tuple[Ids, Floats]:
        """Places among the queries, and the score of the last of their true neighbours."""
        key = (len(queries), k)
        if key not in self.truths:
            size = min(TRUTHS, len(queries))
            places = np.sort(np.random.default_rng(2).choice(len(queries), size, replace=False))
            rows = queries[places]
            scores = self.vectors[rows] @ self.vectors.T
            scores[np.arange(size), rows] = -np.inf
            self.truths[key] = (places, -np.partition(-scores, k - 1, axis=1)[:, k - 1])
        return self.truths[key]

    def recall(self, ids: Ids, queries: Ids, k: int) -> float:
        """The share of neighbours as near as the true ones; of equal ones any may be found."""
        places, last = self.truth(queries, k)
        hits = 0
        for found, row, least in zip(ids[places], queries[places], last, strict=True):
            others = np.unique(found[(found != row) & (found >= 0)])
            scores = self.vectors[others] @ self.vectors[row]
            hits += min(int((scores >= least - 1e-6).sum()), k)
        return hits / (k * len(places))


@pytest.fixture(scope="module")
def bench(inputs: Any) -> Bench:
    size, pieces = 2048, [""]
    while len(pieces) < ROWS and size > 16:
        size //= 2
        pieces = [piece for text in inputs.texts for piece in chunk(text, size=size)]
    step = max(len(pieces) / ROWS, 1)
    pieces = [pieces[int(number * step)] for number in range(min(ROWS, len(pieces)))]
    return Bench(Embedder.fit(pieces[::2], dim=DIM, seed=0).encode(pieces))


def _ours(kind: str) -> Engine:
    def make(vectors: Floats) -> Searcher:
        core = _nextlong.Search(_nextlong.Vectors.from_array(vectors, full=True), kind)
        if kind == "clustered":
            core.build_lists()
        for shard in range(core.shard_count):
            core.build_shard(shard)

        def search(rows: Ids, k: int, width: int) -> Ids:
            ids = np.empty((len(rows), k), dtype=np.int64)
            order = core.order(rows)
            for start in range(0, len(rows), 4096):
                places = order[start : start + 4096]
                ids[places] = core.rows(rows[places], k, width)[0]
            return ids

        return search

    return make


def _hnswlib(vectors: Floats) -> Searcher:
    index = _package("hnswlib").Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(vectors), ef_construction=100, M=16)
    index.add_items(vectors, num_threads=1)

    def search(rows: Ids, k: int, width: int) -> Ids:
        index.set_ef(max(width, k + 1))
        found: NDArray[np.uint64] = index.knn_query(vectors[rows], k=k + 1, num_threads=1)[0]
        return found.astype(np.int64)

    return search


def _usearch(vectors: Floats) -> Searcher:
    scale = 127 / np.quantile(np.abs(vectors[:2048]), 0.9999)
    small = np.clip(np.rint(vectors * scale), -127, 127).astype(np.int8)
    index = _package("usearch.index").Index(
        ndim=DIM, metric="ip", dtype="i8", connectivity=16, expansion_add=128
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


def _faiss(kind: str) -> Engine:
    def make(vectors: Floats) -> Searcher:
        faiss = _package("faiss")
        faiss.omp_set_num_threads(1)
        if kind == "flat":
            index = faiss.IndexFlatIP(DIM)
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 100
        else:
            lists = int(np.sqrt(len(vectors)) * 3.2)
            quantizer = faiss.IndexFlatIP(DIM)
            index = faiss.IndexIVFFlat(quantizer, DIM, lists, faiss.METRIC_INNER_PRODUCT)
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


def _pynndescent(vectors: Floats) -> Searcher:
    """The graph of all rows: as many neighbours as the width, made anew for each."""
    package = _package("pynndescent")

    def graph(some: Floats, width: int) -> Ids:
        descent = package.NNDescent(
            some, metric="cosine", n_neighbors=width, n_jobs=1, random_state=0
        )
        ids: Ids = descent.neighbor_graph[0]
        return ids

    graph(vectors[:2000], 11)  # It compiles itself at first, which is not counted.
    return lambda rows, k, width: graph(vectors, width)[rows]


PROBES = (8, 10, 13, 17, 22, 28, 35, 44, 55, 70, 90)
WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PEERS: dict[str, tuple[Engine, Sequence[int]]] = {
    "hnswlib": (_hnswlib, WIDTHS),
    "usearch int8, ranked again": (_usearch, WIDTHS),
    "faiss HNSW": (_faiss("hnsw"), WIDTHS),
    "faiss IVF": (_faiss("ivf"), PROBES),
    "pynndescent": (_pynndescent, (11, 15, 20, 30, 45)),
}


def _state(
    benchmark: Any,
    report: Any,
    bench: Bench,
    stage: str,
    name: str,
    engine: Engine,
    widths: Sequence[int],
    queries: Ids,
    k: int,
    recall: float,
    ratio: float | None = None,
) -> None:
    """The rate of an engine at the first width that has the recall; the last one at worst."""
    built, search = bench.index(name, engine)
    if name == "pynndescent":
        built = 0.0  # Only its compiler.
    taken, reached, width = 0.0, 0.0, 0
    bench.truth(queries, k)
    for width in widths:
        started = time.process_time()
        ids = search(queries, k, width)
        taken = time.process_time() - started
        reached = bench.recall(ids, queries, k)
        if reached >= recall:
            break
    benchmark.pedantic(lambda: None, rounds=1)
    report(
        stage,
        name,
        len(queries),
        "queries/s",
        seconds=built + taken,
        ratio=ratio if reached >= recall else None,
        recall=reached,
        width=width,
        seconds_to_build=built,
    )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"\nretrieval: {name.split('.')[0]} is not installed: its rows are left out")
        pytest.skip(f"{name} is not installed")


def _amx() -> bool:
    one = _nextlong.Vectors.from_array(np.ones((1, DIM), "f4"))
    return "amx" in _nextlong.Search(one, "exact").kernel


JOIN = f"join of {ROWS:,}, k 10"
FEW = f"{ROWS // 100:,} queries of {ROWS:,}, k 128"


@pytest.mark.parametrize("name", ["nextlong_rs exact", "faiss flat"])
def test_exact(benchmark: Any, report: Any, bench: Bench, name: str) -> None:
    engine = _ours("exact") if name.startswith("nextlong") else _faiss("flat")
    rows = np.arange(len(bench.vectors))
    ratio = 10.0 if _amx() else 2.0
    stage = f"{JOIN}, exact"
    _state(benchmark, report, bench, stage, name, engine, [2], rows, 10, 0.98, ratio)


@pytest.mark.parametrize("recall", [0.95, 0.99])
@pytest.mark.parametrize("name", ["nextlong_rs clustered", *PEERS])
def test_join(benchmark: Any, report: Any, bench: Bench, name: str, recall: float) -> None:
    engine, widths = PEERS.get(name, (_ours("clustered"), PROBES))
    goals = {
        (0.95, "pynndescent"): 4.0 if _amx() else 2.0,
        (0.95, "hnswlib"): 15.0 if _amx() else 9.0,
        (0.99, "hnswlib"): 10.0 if _amx() else 6.0,
    }
    rows = np.arange(len(bench.vectors))
    ratio = goals.get((recall, name))
    stage = f"{JOIN}, recall {recall}"
    _state(benchmark, report, bench, stage, name, engine, widths, rows, 10, recall, ratio)


@pytest.mark.parametrize(
    "name", ["nextlong_rs exact", "hnswlib", "usearch int8, ranked again", "faiss HNSW"]
)
def test_few_queries(benchmark: Any, report: Any, bench: Bench, name: str) -> None:
    engine, widths = PEERS.get(name, (_ours("exact"), [2]))
    if name.startswith("nextlong"):
        bench.made.pop(name, None)  # Its packed rows are to be counted.
    rows = np.arange(0, len(bench.vectors), 100)
    ratio = 100.0 if _amx() else 20.0
    _state(benchmark, report, bench, FEW, name, engine, widths, rows, 128, 0.95, ratio)


@pytest.mark.parametrize("name", ["nextlong_rs hnsw", "usearch int8, ranked again"])
def test_graph(benchmark: Any, report: Any, bench: Bench, name: str) -> None:
    rows = np.arange(min(32_000, len(bench.vectors)))  # One shard of ours.
    some = Bench(bench.vectors[: len(rows)])
    engine, widths = PEERS.get(name, (_ours("hnsw"), [1]))
    # A width of 64 is the first breadth of ours.
    widths = [64] if name in PEERS else widths
    stage = f"graph of {len(rows):,}, built and searched, k 10"
    _state(benchmark, report, some, stage, name, engine, widths, rows, 10, 0.9, 0.97)


@pytest.mark.parametrize("kind", ["exact", "clustered"])
@pytest.mark.parametrize("threads", [2, 1])
def test_two_threads(benchmark: Any, report: Any, bench: Bench, kind: str, threads: int) -> None:
    vectors = bench.vectors[:40_000]
    started = time.perf_counter()
    found = knn(vectors, 10, index=kind, threads=threads, min_recall=0.9)
    taken = time.perf_counter() - started
    benchmark.pedantic(lambda: None, rounds=1)
    report(
        f"{kind} scan of {len(vectors):,} by the clock",
        f"nextlong_rs {threads} threads" if threads > 1 else "1 thread",
        len(vectors),
        "queries/s",
        seconds=taken,
        ratio=1.9,
        recall=found.recall,
    )
