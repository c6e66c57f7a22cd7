"""Bulk joins at equal recall: ours beside faiss, hnswlib, pynndescent and usearch, index included.

Input: LSA vectors of the corpus cut at 1,024 characters, or at fewer where it does not have the rows
then; `NEXTLONG_BENCH_ROWS` (default 100,000) sets how many. Unit: queries answered in a CPU second of
one core, the making of the index included. Every library searches wider, in steps of a tenth, until it
has the recall of its stage; only the least width that has it is counted, the median of up to three
searches. Ours is measured again with the kernels of lesser processors (`NEXTLONG_KERNEL`). A library
that is not installed is named and left out.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from benches.retrieval_engines import (
    Engine,
    Floats,
    Ids,
    Searcher,
    clock,
    elsewhere,
    faiss_index,
    hnswlib,
    kernels,
    ours,
    pynndescent,
    usearch,
)

from nextlong_rs.chunk import chunk
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.index.knn import knn

ROWS = int(os.environ.get("NEXTLONG_BENCH_ROWS", "100000"))
DIM = 256
TRUTHS = 500
REPEATED_SECONDS = 5.0
"""A search that takes longer is not repeated."""


@dataclass(frozen=True)
class Figure:
    """What an engine took to have a recall, if it had it: CPU seconds in all, the index among them."""

    seconds: float
    built: float
    recall: float
    width: int
    enough: bool


class Bench:
    """The vectors, the truth, and every index and figure that was made so far."""

    def __init__(self, vectors: Floats) -> None:
        self.vectors = vectors
        self.made: dict[str, tuple[float, Searcher]] = {}
        self.truths: dict[tuple[int, int], tuple[Ids, Floats]] = {}
        self.figures: dict[tuple[str, int, int, float], Figure] = {}
        self.clocks: dict[tuple[str, int], list[float]] = {}

    def index(self, name: str, engine: Engine) -> tuple[float, Searcher]:
        if name not in self.made:
            started = clock()
            searcher = engine(self.vectors)
            # What pynndescent does before it is asked is to compile itself.
            built = 0.0 if name == "pynndescent" else clock() - started
            self.made[name] = (built, searcher)
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
            time.sleep(0.5)  # numpy's threads wait busily for a while: no engine is charged for it.
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

    def figure(
        self, name: str, engine: Engine, widths: Sequence[int], rows: Ids, k: int, recall: float
    ) -> Figure:
        """At the least width that has the recall, measured once for all; the last one at worst."""
        key = (name, len(rows), k, recall)
        if key not in self.figures:
            self.figures[key] = self._measure(name, engine, widths, rows, k, recall)
        return self.figures[key]

    def _measure(
        self, name: str, engine: Engine, widths: Sequence[int], rows: Ids, k: int, recall: float
    ) -> Figure:
        built, search = self.index(name, engine)
        self.truth(rows, k)
        tried: dict[int, tuple[float, float]] = {}

        def timed(width: int) -> tuple[float, Ids]:
            started = clock()
            ids = search(rows, k, width)
            return clock() - started, ids

        def enough(place: int) -> bool:
            width = widths[place]
            if width not in tried:
                taken, ids = timed(width)
                tried[width] = taken, self.recall(ids, rows, k)
            return tried[width][1] >= recall

        # Ever longer steps up, then halves: wide searches are slow.
        low, high = 0, 1
        while high < len(widths) and not enough(high - 1):
            low, high = high, 2 * high
        high = min(high, len(widths))
        while low < high - 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle - 1) else (middle, high)
        found = enough(high - 1)
        width = widths[high - 1]
        taken, reached = tried[width]
        times = [taken]
        while taken < REPEATED_SECONDS and len(times) < 3:
            times.append(timed(width)[0])
        return Figure(built + statistics.median(times), built, reached, width, found)


@pytest.fixture(scope="module")
def bench(inputs: Any) -> Bench:
    size, pieces = 2048, [""]
    while len(pieces) < ROWS and size > 16:
        size //= 2
        pieces = [piece for text in inputs.texts for piece in chunk(text, size=size)]
    step = max(len(pieces) / ROWS, 1)
    pieces = [pieces[int(number * step)] for number in range(min(ROWS, len(pieces)))]
    # Memory that a virtual machine never had costs several times as much when it is first used.
    np.ones(ROWS * DIM * 2)
    return Bench(Embedder.fit(pieces[::2], dim=DIM, seed=0).encode(pieces))


def _steps(first: int, last: int) -> tuple[int, ...]:
    """Widths from `first` to `last`, each about a tenth above the one before."""
    steps = [first]
    while steps[-1] < last:
        steps.append(max(steps[-1] + 1, round(steps[-1] * 1.1)))
    return tuple(steps)


PROBES, WIDTHS, NEIGHBOURS = _steps(6, 100), _steps(11, 512), _steps(11, 48)
PEERS: dict[str, tuple[Engine, Sequence[int]]] = {
    "hnswlib": (hnswlib, WIDTHS),
    "usearch int8, ranked again": (usearch, WIDTHS),
    "faiss flat": (faiss_index("flat"), (2,)),
    "faiss HNSW": (faiss_index("hnsw"), WIDTHS),
    "faiss IVF": (faiss_index("ivf"), PROBES),
    "pynndescent": (pynndescent, NEIGHBOURS),
}

OURS: dict[str, Sequence[int]] = {"exact": (8,), "clustered": PROBES, "hnsw": (1,)}

KERNELS = kernels()
"""The kernel of this processor and lesser ones."""

GOALS: dict[str, dict[tuple[str, str], float]] = {
    "amx": {
        ("exact", "faiss flat"): 10,
        ("0.95", "pynndescent"): 4,
        ("0.95", "hnswlib"): 15,
        ("0.99", "hnswlib"): 10,
        ("few", "any"): 100,
    },
    "avx-512 vnni": {
        ("exact", "faiss flat"): 2,
        ("0.95", "pynndescent"): 2,
        ("0.95", "hnswlib"): 9,
        ("0.99", "hnswlib"): 6,
        ("few", "any"): 20,
    },
}
if ROWS >= 500_000:
    GOALS["amx"].update({("0.95", "pynndescent"): 6, ("0.95", "hnswlib"): 30})
    GOALS["avx-512 vnni"].update({("0.95", "pynndescent"): 2, ("0.95", "hnswlib"): 10})

JOIN = f"join of {ROWS:,}, k 10"
FEW = f"{ROWS // 100:,} queries of {ROWS:,}, k 128"


def _state(
    benchmark: Any,
    report: Any,
    bench: Bench,
    stage: str,
    name: str,
    rows: Ids,
    k: int,
    recall: float,
    *,
    kernel: str = KERNELS[0],
    ratio: float | None = None,
) -> None:
    """The figure of an engine, ours with a kernel."""
    kind = name.removeprefix("nextlong_rs ")
    if name in PEERS:
        engine, widths = PEERS[name]
    else:
        engine = ours(kind) if kernel == KERNELS[0] else elsewhere(kind, kernel)
        widths = OURS[kind]
        name = f"{name}, {kernel}"
    figure = bench.figure(name, engine, widths, rows, k, recall)
    benchmark.pedantic(lambda: None, rounds=1)
    report(
        stage if kernel == KERNELS[0] else f"{stage}, {kernel}",
        name,
        len(rows),
        "queries/s",
        seconds=figure.seconds,
        ratio=ratio if figure.enough else None,
        recall=figure.recall,
        width=figure.width,
        seconds_to_build=figure.built,
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["nextlong_rs exact", "faiss flat"])
def test_exact(benchmark: Any, report: Any, bench: Bench, name: str, kernel: str) -> None:
    rows = np.arange(len(bench.vectors))
    goal = GOALS.get(kernel, {}).get(("exact", name))
    stage = f"{JOIN}, exact"
    _state(benchmark, report, bench, stage, name, rows, 10, 0.98, kernel=kernel, ratio=goal)


COMPARED = ("nextlong_rs clustered", "hnswlib", "pynndescent")
"""Those that are held against targets: lesser kernels are compared with these alone."""


@pytest.mark.parametrize("recall", [0.95, 0.99])
@pytest.mark.parametrize(
    ("kernel", "name"),
    [(KERNELS[0], name) for name in (COMPARED[0], *PEERS) if name != "faiss flat"]
    + [(kernel, name) for kernel in KERNELS[1:] for name in COMPARED],
)
def test_join(
    benchmark: Any, report: Any, bench: Bench, name: str, kernel: str, recall: float
) -> None:
    rows = np.arange(len(bench.vectors))
    goal = GOALS.get(kernel, {}).get((str(recall), name))
    stage = f"{JOIN}, recall {recall}"
    _state(benchmark, report, bench, stage, name, rows, 10, recall, kernel=kernel, ratio=goal)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "name", ["nextlong_rs exact", "hnswlib", "usearch int8, ranked again", "faiss HNSW"]
)
def test_few_queries(benchmark: Any, report: Any, bench: Bench, name: str, kernel: str) -> None:
    rows = np.arange(0, len(bench.vectors), 100)
    goal = GOALS.get(kernel, {}).get(("few", "any"))
    _state(benchmark, report, bench, FEW, name, rows, 128, 0.95, kernel=kernel, ratio=goal)


@pytest.mark.parametrize("name", ["nextlong_rs hnsw", "usearch int8, ranked again"])
def test_graph(benchmark: Any, report: Any, bench: Bench, name: str) -> None:
    rows = np.arange(min(32_000, len(bench.vectors)))  # One shard of ours.
    some = Bench(bench.vectors[: len(rows)])
    # As wide as the first search of ours.
    engine, widths = (usearch, (64,)) if name in PEERS else (ours("hnsw"), OURS["hnsw"])
    figure = some.figure(name, engine, widths, rows, 10, 0.9)
    benchmark.pedantic(lambda: None, rounds=1)
    report(
        f"graph of {len(rows):,}, built and searched, k 10",
        name,
        len(rows),
        "queries/s",
        seconds=figure.seconds,
        ratio=0.97,
        recall=figure.recall,
        seconds_to_build=figure.built,
    )


@pytest.mark.parametrize("kind", ["exact", "clustered"])
@pytest.mark.parametrize("threads", [2, 1])
def test_two_threads(benchmark: Any, report: Any, bench: Bench, kind: str, threads: int) -> None:
    """By turns, five times; the best of each."""
    vectors = bench.vectors[:40_000]
    for _ in range(0 if bench.clocks.get((kind, threads)) else 5):
        for some in (1, 2):
            started = time.perf_counter()
            knn(vectors, 10, index=kind, threads=some, min_recall=0.9)
            bench.clocks.setdefault((kind, some), []).append(time.perf_counter() - started)
    benchmark.pedantic(lambda: None, rounds=1)
    report(
        f"{kind} scan of {len(vectors):,} by the clock",
        f"nextlong_rs {threads} threads" if threads > 1 else "1 thread",
        len(vectors),
        "queries/s",
        seconds=min(bench.clocks[kind, threads]),
        ratio=1.9,
    )
