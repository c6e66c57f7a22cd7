"""Recall where it is used: every depth, distinct vectors, a warning where it is missed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool
from nextlong_rs.index.knn import knn
from nextlong_rs.index.search import Search
from nextlong_rs.stage.needs import needs
from nextlong_rs.stage.recall import UsedLists, used_warning

Floats = NDArray[np.float32]

DEPTHS = (8, 32, 64, 128, 256, 512)


def clustered(rows: int, dim: int, seed: int, spread: float = 0.7) -> Floats:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(rows // 60, 1), dim))
    values = centres[rng.integers(len(centres), size=rows)] + spread * rng.normal(size=(rows, dim))
    unit: Floats = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def copied(rows: int = 3000, copies: int = 12_000, dim: int = 64) -> Floats:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows + 3, dim)).astype(np.float32)
    picked = np.concatenate([np.arange(rows), rows + rng.integers(3, size=copies)])
    mixed: Floats = values[rng.permutation(picked)]
    return mixed


def true_recall(vectors: Floats, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> float:
    """Share of the true neighbours of each row, or others as near, among `ids`."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores = unit[rows] @ unit.T
    scores[np.arange(len(rows)), rows] = -np.inf
    k = ids.shape[1]
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    found = np.where(ids >= 0, np.take_along_axis(scores, ids, axis=1), -np.inf)
    return float((found >= last - 1e-6).mean())


def open_clustered(vectors: Floats, threads: int = 2, **options: Any) -> Search:
    stored = _nextlong.Vectors.from_array(vectors)
    with Pool(threads) as pool:
        return Search.open(
            stored, index="clustered", expected_queries=len(vectors), k=64, pool=pool, **options
        )


@pytest.mark.parametrize("spread", [0.3, 0.7, 1.5])
def test_clustered_reaches_the_recall_at_every_depth(spread: float) -> None:
    vectors = clustered(6000, 32, 1, spread)
    search = open_clustered(vectors)
    rows = np.random.default_rng(0).choice(6000, 600, replace=False)
    for depth in DEPTHS:
        ids, _ = search.search(rows, depth)
        assert true_recall(vectors, rows, ids) >= 0.95, depth


def test_queries_with_far_neighbours_reach_it_by_themselves() -> None:
    # A tenth lies apart, without any order: a deeper search may be of these alone.
    vectors = clustered(6000, 32, 2, 0.4)
    vectors[::10] = np.random.default_rng(3).normal(size=(600, 32))
    search = open_clustered(vectors)
    hard = np.arange(0, 6000, 20)
    for depth in DEPTHS[2:]:
        assert true_recall(vectors, hard, search.search(hard, depth)[0]) >= 0.93, depth


@settings(max_examples=8, deadline=None)
@given(
    order=st.permutations(DEPTHS),
    threads=st.integers(1, 3),
    index=st.sampled_from(["clustered", "hnsw", "exact"]),
)
def test_a_breadth_does_not_depend_on_earlier_calls_or_threads(
    order: list[int], threads: int, index: str
) -> None:
    stored = _nextlong.Vectors.from_array(clustered(2500, 24, 5))

    def measured(depths: list[int], threads: int) -> list[Any]:
        with Pool(threads) as pool:
            search = Search.open(stored, index=index, expected_queries=2500, k=depths[0], pool=pool)
            found = {depth: search.search(np.arange(50), depth)[0].tolist() for depth in depths}
        return [search.identity[0], *search.identity[2:], dict(sorted(found.items()))]

    assert measured(order, threads) == measured(sorted(order), 1)


@pytest.mark.parametrize("index", ["clustered", "exact", "exhaustive", "auto"])
def test_many_copies_do_not_hide_what_is_missed(index: str) -> None:
    vectors = copied()
    rows = np.arange(0, len(vectors), 17)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = knn(vectors, 20, queries=rows, index=index)
    distinct = np.unique(vectors[rows], axis=0, return_index=True)[1]
    assert true_recall(vectors, rows[distinct], found.ids[distinct]) >= 0.95


def test_a_graph_that_copies_make_unreliable_is_warned_of() -> None:
    vectors = copied()
    rows = np.unique(vectors, axis=0, return_index=True)[1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = knn(vectors, 20, queries=rows, index="hnsw")
    reached = true_recall(vectors, rows, found.ids)
    assert abs(found.recall - reached) < 0.06
    assert reached >= 0.95 or any("copies of others" in str(one.message) for one in caught)
    # All rows: four of five queries are copies, and the others are what is measured.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = knn(vectors, 20, index="hnsw")
    assert abs(found.recall - true_recall(vectors, rows, found.ids[rows])) < 0.06
    if found.recall < 0.95:
        assert "recall at k 20 is" in str(caught[0].message)
        assert "copies of others" in str(caught[0].message)


def test_a_kept_index_warns_likewise() -> None:
    vectors = copied(rows=6000, copies=24_000)
    index = nl.Index.build(vectors)
    rows = np.unique(vectors, axis=0, return_index=True)[1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = index.search(rows, 20)
    reached = true_recall(vectors, rows, found.ids)
    assert abs(found.recall - reached) < 0.06
    assert reached >= 0.95 or any("recall at k 20" in str(one.message) for one in caught)


@pytest.mark.parametrize(("rows", "dim", "k"), [(900, 32, 10), (130, 7, 200), (1, 4, 3)])
def test_exhaustive_is_the_full_scan_on_any_threads(rows: int, dim: int, k: int) -> None:
    vectors = clustered(rows, dim, 4)
    vectors[rows // 2 :] = vectors[: rows - rows // 2]  # Ties: the lower id wins.
    found = knn(vectors, k, index="exhaustive", threads=1)
    again = knn(vectors, k, index="exhaustive", threads=3)
    assert found.ids.tobytes() == again.ids.tobytes()
    assert found.scores.tobytes() == again.scores.tobytes()
    assert (found.engine, found.recall) == ("exhaustive", 1.0)
    for row in range(0, rows, 7):
        scores = found.scores[row][found.ids[row] >= 0]
        ids = found.ids[row][found.ids[row] >= 0]
        truth = vectors.astype(np.float64) @ vectors[row].astype(np.float64)
        truth[row] = -np.inf
        order = np.argsort(-truth, kind="stable")[: min(k, rows - 1)]
        np.testing.assert_allclose(scores, truth[order], atol=2e-6)
        ties = list(zip(-scores.astype(float), ids.tolist(), strict=True))
        assert ties == sorted(ties)


def test_lists_in_use_are_counted_and_sampled_whatever_the_batches() -> None:
    rng = np.random.default_rng(0)
    chunks = rng.permutation(5000).astype(np.uint32)
    depths = rng.choice([32, 64, 256], size=5000).astype(np.uint32)
    whole, parts, again = UsedLists(7, 5000), UsedLists(7, 5000), UsedLists(7, 5000)
    whole.add(chunks, depths)
    for start in range(0, 5000, 700):
        part = slice(start, start + 700)
        again.restore(json.loads(json.dumps(parts.add(chunks[part], depths[part]))))
    for other in (parts, again):
        assert other.counts == whole.counts
        assert {d: rows.tolist() for d, rows in other.sample(90).items()} == {
            d: rows.tolist() for d, rows in whole.sample(90).items()
        }
    assert [len(rows) for rows in whole.sample(90).values()] == [30, 30, 30]
    other_seed = UsedLists(8, 5000)
    other_seed.add(chunks, depths)
    assert other_seed.sample(90)[32].tolist() != whole.sample(90)[32].tolist()


def test_a_missed_recall_is_told_with_its_depths() -> None:
    deep = {"lists": 100, "recall": 0.8, "error": 0.01}
    facts = {
        "recall": 0.94,
        "recall_error": 0.01,
        "recall_by_depth": {"64": {"lists": 900, "recall": 0.96, "error": 0.01}, "512": deep},
    }
    said = used_warning(facts, 0.95)
    assert said is not None
    assert "0.940 over all lists, 0.800 at depth 512" in said
    assert used_warning(facts, 0.75) is None
    assert used_warning({"recall_by_depth": {}}, 0.95) is None


def test_exhaustive_has_its_memory_and_its_time() -> None:
    chunks = 1_000_000
    scan, full = (
        needs(nl.Settings(index=index), chunks=chunks)["index"].shared
        for index in ("exact", "exhaustive")
    )
    assert full == 8 * chunks < scan
    job = (chunks, 10_000, 128, 256, 0.95)
    slower = _nextlong.searching_seconds("exhaustive", *job)
    assert slower > _nextlong.searching_seconds("exact", *job)
    assert _nextlong.building_seconds("exhaustive", chunks, 256) == 0


def test_a_run_measures_the_lists_that_it_used(tmp_path: Path) -> None:
    texts = [f"topic{i % 9} word{i} " * 120 for i in range(60)]
    options: dict[str, Any] = {
        "tokenizer": nl.sample_tokenizer(),
        "progress": False,
        "chunk_size": 400,
        "seq_len": 2048,
        "max_containment": None,
        "max_score": None,
    }
    made = {
        index: nl.synthesize(iter(texts), tmp_path / index, index=index, **options)
        for index in ("exhaustive", "exact", "clustered")
    }
    for index, result in made.items():
        facts = result.manifest["summary"]["retrieval"]
        assert facts["engine"] == index
        by_depth = facts["recall_by_depth"].values()
        lists = sum(one["lists"] for one in by_depth)
        assert lists == result.manifest["summary"]["sequences"]["meta_chunks"] > 0
        assert facts["recall"] >= 0.95
    assert made["exhaustive"].manifest["summary"]["retrieval"]["recall"] == 1.0
