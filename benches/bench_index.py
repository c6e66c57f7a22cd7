"""Neighbours of every vector among all, one thread, against faiss and usearch on the same vectors.

Input: LSA vectors of the corpus cut at 1,024 characters; `NEXTLONG_BENCH_ROWS` (default 20,000) sets
how many. Unit: vectors joined in a CPU second of one core, index included.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.chunk import chunk
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.engine.pool import Pool
from nextlong_rs.index.search import Search

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

ROWS = int(os.environ.get("NEXTLONG_BENCH_ROWS", "20000"))
DIM = 256
K = 10
STAGE = f"join {ROWS:,} x {DIM}, k {K}"


@pytest.fixture(scope="module")
def vectors(inputs: Any) -> Floats:
    pieces = [piece for text in inputs.texts for piece in chunk(text, size=1024)]
    pieces = pieces[:: max(1, len(pieces) // ROWS)][:ROWS]
    return Embedder.fit(pieces, dim=DIM, seed=0).encode(pieces)


@pytest.fixture(scope="module")
def truth(vectors: Floats) -> tuple[Ids, Ids]:
    rows = np.random.default_rng(2).choice(len(vectors), 500, replace=False)
    scores = vectors[rows] @ vectors.T
    scores[np.arange(len(rows)), rows] = -np.inf
    return rows, np.argsort(-scores, axis=1)[:, :K]


def _record(
    name: str,
    benchmark: Any,
    report: Any,
    run: Callable[[], Ids],
    truth: tuple[Ids, Ids],
    stage: str,
) -> None:
    times: list[float] = []

    def timed() -> Ids:
        started = time.process_time()
        ids = run()
        times.append(time.process_time() - started)
        return ids

    ids = benchmark.pedantic(timed, rounds=1)
    rows, best = truth
    pairs = zip(ids[rows], best, rows, strict=True)
    found = [
        len((set(mine.tolist()) - {row}) & set(theirs.tolist())) for mine, theirs, row in pairs
    ]
    recall = float(np.mean(found)) / K
    report(stage, name, len(ids), "vectors/s", seconds=min(times), recall=recall)


def _ours(vectors: Floats, engine: str, breadth: int) -> Ids:
    core = _nextlong.Search(_nextlong.Vectors.from_array(vectors), engine)
    for shard in range(core.shard_count):
        core.build_shard(shard)
    starts = range(0, len(vectors), 4096)
    rows = [np.arange(start, min(start + 4096, len(vectors))) for start in starts]
    return np.concatenate([core.rows(some, K, breadth)[0] for some in rows])


@pytest.mark.parametrize(("engine", "breadth"), [("exact", 8), ("hnsw", 1)])
def test_ours(
    benchmark: Any,
    report: Any,
    vectors: Floats,
    truth: tuple[Ids, Ids],
    engine: str,
    breadth: int,
) -> None:
    name = f"nextlong_rs breadth {breadth}"
    stage = f"{STAGE}, {engine}"
    _record(name, benchmark, report, lambda: _ours(vectors, engine, breadth), truth, stage)


@pytest.mark.parametrize(("name", "width"), [("flat", 0), ("hnsw", 32), ("hnsw", 64)])
def test_faiss(
    benchmark: Any, report: Any, vectors: Floats, truth: tuple[Ids, Ids], name: str, width: int
) -> None:
    faiss = pytest.importorskip("faiss")
    faiss.omp_set_num_threads(1)

    def run() -> Ids:
        if name == "flat":
            index = faiss.IndexFlatIP(DIM)
        else:
            index = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 128
            index.hnsw.efSearch = width
        index.add(vectors)
        ids: Ids = index.search(vectors, K + 1)[1]
        return ids

    stage = f"{STAGE}, {'exact' if name == 'flat' else name}"
    who = f"faiss {name} {width or ''}".strip()
    _record(who, benchmark, report, run, truth, stage)


@pytest.mark.parametrize("width", [64])
def test_usearch_with_int8_of_our_scale(
    benchmark: Any, report: Any, vectors: Floats, truth: tuple[Ids, Ids], width: int
) -> None:
    usearch = pytest.importorskip("usearch.index")

    def run() -> Ids:
        scale = 127 / np.quantile(np.abs(vectors[:2048]), 0.9999)
        small = np.clip(np.rint(vectors * scale), -127, 127).astype(np.int8)
        index = usearch.Index(
            ndim=DIM,
            metric="ip",
            dtype="i8",
            connectivity=16,
            expansion_add=128,
            expansion_search=width,
        )
        index.add(np.arange(len(small)), small, threads=1)
        kept = index.search(small, 3 * K, threads=1).keys.astype(np.int64)
        scores = np.einsum("qd,qkd->qk", vectors, vectors[kept])
        return np.take_along_axis(kept, np.argsort(-scores, axis=1)[:, : K + 1], axis=1)

    who = f"usearch int8 {width}, ranked again"
    _record(who, benchmark, report, run, truth, f"{STAGE}, hnsw")


def test_recall_is_what_search_says(vectors: Floats) -> None:
    stored = _nextlong.Vectors.from_array(vectors)
    with Pool(1) as pool:
        search = Search.open(stored, index="exact", expected_queries=ROWS, k=K, pool=pool)
    assert search.recall >= 0.95
