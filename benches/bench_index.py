"""Neighbours of every vector among all, one thread, against faiss and usearch on the same vectors.

Input: LSA vectors of real text where `NEXTLONG_BENCH_CORPUS` names a `.jsonl.zst` file with a
`text` column, else clustered random ones. `NEXTLONG_BENCH_ROWS` (default 20,000) sets how many.
Unit: CPU seconds of one core, index included. Run with `pytest -s benches/bench_index.py`; the
last test prints the table.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.index import Search
from nextlong_rs.pool import Pool

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

ROWS = int(os.environ.get("NEXTLONG_BENCH_ROWS", "20000"))
DIM = 256
K = 10
TABLE: list[tuple[str, float, float]] = []


def _texts(path: str, count: int) -> Iterator[str]:
    import zstandard

    with open(path, "rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        for line in lines:
            text = json.loads(line)["text"]
            for start in range(0, len(text), 1000):
                yield text[start : start + 1000]
                count -= 1
                if count == 0:
                    return


@pytest.fixture(scope="module")
def vectors() -> Floats:
    corpus = os.environ.get("NEXTLONG_BENCH_CORPUS")
    if corpus:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        counts = HashingVectorizer(n_features=1 << 16, alternate_sign=False).transform(
            _texts(corpus, ROWS)
        )
        weights = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
        values = TruncatedSVD(DIM, n_iter=2, random_state=0).fit_transform(weights)
    else:
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(ROWS // 50, DIM))
        values = centres[rng.integers(len(centres), size=ROWS)] + rng.normal(size=(ROWS, DIM))
        values *= np.arange(1, DIM + 1) ** -0.4
    values = values + np.random.default_rng(1).normal(size=values.shape) * 1e-9
    unit: Floats = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def truth(vectors: Floats) -> tuple[Ids, Ids]:
    rows = np.random.default_rng(2).choice(len(vectors), 500, replace=False)
    scores = vectors[rows] @ vectors.T
    scores[np.arange(len(rows)), rows] = -np.inf
    return rows, np.argsort(-scores, axis=1)[:, :K]


def _record(
    name: str,
    benchmark: Callable[..., Any],
    run: Callable[[], Ids],
    truth: tuple[Ids, Ids],
) -> None:
    times: list[float] = []

    def timed() -> Ids:
        started = time.process_time()
        ids = run()
        times.append(time.process_time() - started)
        return ids

    ids = benchmark.pedantic(timed, rounds=1)  # type: ignore[attr-defined]
    rows, best = truth
    pairs = zip(ids[rows], best, rows, strict=True)
    found = [
        len((set(mine.tolist()) - {row}) & set(theirs.tolist())) for mine, theirs, row in pairs
    ]
    TABLE.append((name, min(times), float(np.mean(found)) / K))


def _ours(vectors: Floats, engine: str, breadth: int) -> Ids:
    core = _nextlong.Search(_nextlong.Vectors.from_array(vectors), engine)
    for shard in range(core.shard_count):
        core.build_shard(shard)
    starts = range(0, len(vectors), 4096)
    rows = [np.arange(start, min(start + 4096, len(vectors))) for start in starts]
    return np.concatenate([core.rows(some, K, breadth)[0] for some in rows])


@pytest.mark.parametrize(("engine", "breadth"), [("exact", 3), ("hnsw", 1), ("hnsw", 2)])
def test_ours(
    benchmark: Any, vectors: Floats, truth: tuple[Ids, Ids], engine: str, breadth: int
) -> None:
    name = f"nextlong {engine}, breadth {breadth}"
    _record(name, benchmark, lambda: _ours(vectors, engine, breadth), truth)


@pytest.mark.parametrize(("name", "width"), [("flat", 0), ("hnsw", 32), ("hnsw", 64)])
def test_faiss(
    benchmark: Any, vectors: Floats, truth: tuple[Ids, Ids], name: str, width: int
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

    _record(f"faiss {name} {width or ''}", benchmark, run, truth)


@pytest.mark.parametrize("width", [64, 128])
def test_usearch_with_int8_of_our_scale(
    benchmark: Any, vectors: Floats, truth: tuple[Ids, Ids], width: int
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

    _record(f"usearch int8 {width}, ranked again", benchmark, run, truth)


def test_recall_is_what_search_says(vectors: Floats) -> None:
    stored = _nextlong.Vectors.from_array(vectors)
    with Pool(1) as pool:
        search = Search.open(stored, index="exact", expected_queries=ROWS, k=K, pool=pool)
    assert search.recall >= 0.95


def test_print_the_table(vectors: Floats) -> None:
    kernel = _nextlong.Search(_nextlong.Vectors.from_array(vectors[:1]), "exact").kernel
    print(f"\n\n{ROWS:,} x {DIM}, k {K}, CPU seconds of one core, index included; kernel: {kernel}")
    print(f"{'method':36} {'seconds':>8} {'recall':>7}")
    for name, seconds, recall in TABLE:
        print(f"{name:36} {seconds:8.2f} {recall:7.3f}")
