"""`knn` and the search engines of a run: exact results, recall, threads, wrong arguments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool
from nextlong_rs.errors import ConfigError, RetrievalError
from nextlong_rs.index.arrays import unit_rows
from nextlong_rs.index.knn import knn
from nextlong_rs.index.search import Search
from nextlong_rs.run.tasks import Tasks

Floats = NDArray[np.float32]


def open_search(vectors: _nextlong.Vectors, **options: Any) -> Search:
    """An engine, built by two threads that end with the call."""
    with Pool(2) as pool:
        return Search.open(vectors, pool=pool, **options)


def clustered(rows: int, dim: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(rows // 50, 1), dim))
    values = centres[rng.integers(len(centres), size=rows)] + 0.7 * rng.normal(size=(rows, dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)


def brute(vectors: Floats, k: int, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """Cosine in float64, score falling, id rising, without the own row."""
    rounded = vectors.astype(np.float64)
    rounded /= np.linalg.norm(rounded, axis=1, keepdims=True)
    scores = rounded[rows] @ rounded.T
    scores[np.arange(len(rows)), rows] = -np.inf
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(scores, ids, axis=1).astype(np.float32)


@pytest.mark.parametrize(("rows", "dim", "k"), [(3000, 64, 10), (2049, 256, 40), (130, 7, 5)])
def test_exact_finds_what_numpy_finds(rows: int, dim: int, k: int) -> None:
    vectors = clustered(rows, dim)
    found = knn(vectors, k, index="exact", threads=2)
    ids, _ = brute(vectors, k, np.arange(rows))
    agree = np.mean([len(set(a) & set(b)) / k for a, b in zip(found.ids, ids, strict=True)])
    assert agree >= 0.999
    assert found.recall >= 0.95
    near = vectors[found.ids].astype(np.float64)
    np.testing.assert_allclose(found.scores, np.einsum("qd,qkd->qk", vectors, near), atol=1e-5)
    assert found.ids.dtype == np.int64
    assert found.scores.dtype == np.float32


def test_exact_is_exact_when_every_row_is_ranked_again() -> None:
    vectors = clustered(500, 32)
    found = knn(vectors, 499, index="exact")
    ids, scores = brute(vectors, 499, np.arange(500))
    assert found.recall == 1.0
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert np.mean(found.ids == ids) > 0.999  # float64 and float32 may order a near-tie differently


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_threads_and_cuts_do_not_change_a_byte(index: str) -> None:
    vectors = clustered(5000, 48)
    first = knn(vectors, 12, index=index, threads=1)
    for threads in (2, 4):
        again = knn(vectors, 12, index=index, threads=threads)
        assert again.ids.tobytes() == first.ids.tobytes()
        assert again.scores.tobytes() == first.scores.tobytes()
        assert (again.recall, again.reason) == (first.recall, first.reason)
    order = np.random.default_rng(0).permutation(5000)
    shuffled = knn(vectors, 12, queries=order, index=index, min_recall=0.0, threads=3)
    plain = knn(vectors, 12, index=index, min_recall=0.0)
    assert np.array_equal(shuffled.ids, plain.ids[order])
    assert np.array_equal(shuffled.scores, plain.scores[order])


def test_hnsw_reaches_the_recall_that_is_asked_for() -> None:
    vectors = clustered(4000, 64)
    found = knn(vectors, 10, index="hnsw", min_recall=0.99)
    ids, _ = brute(vectors, 10, np.arange(4000))
    agree = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.ids, ids, strict=True)])
    assert found.recall >= 0.99
    assert agree >= 0.97


def test_a_low_first_recall_is_searched_wider_and_said() -> None:
    vectors = np.random.default_rng(1).normal(size=(6000, 128)).astype(np.float32)
    stored = _nextlong.Vectors.from_array(vectors)
    search = open_search(stored, index="hnsw", expected_queries=6000, k=10, min_recall=0.99)
    assert search.widened
    assert search.recall >= 0.99
    assert len(search.tried) > 1
    assert "then" in search.reason


def test_queries_may_be_vectors() -> None:
    vectors = clustered(1000, 32)
    found = knn(vectors, 3, queries=vectors[:20] * 7)
    assert found.ids[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(found.scores[:, 0], 1.0, atol=1e-3)
    assert knn(vectors, 3, queries=np.array([5, 5, 9])).ids.shape == (3, 3)


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_fewer_rows_than_k_are_filled_up(index: str) -> None:
    found = knn(clustered(4, 8), 6, index=index)
    assert (found.ids[:, 3:] == -1).all()
    assert (found.ids[:, :3] >= 0).all()
    assert np.isneginf(found.scores[:, 3:]).all()
    alone = knn(np.ones((1, 8)), 2, index=index)
    assert (alone.ids == -1).all()
    assert alone.recall == 1.0
    assert knn(np.ones((0, 8)), 2, index=index).ids.shape == (0, 2)
    assert (knn(np.ones((0, 8)), 2, queries=np.ones((2, 8)), index=index).ids == -1).all()


def test_ties_go_by_id_and_zeros_score_zero() -> None:
    vectors = np.zeros((300, 4))
    vectors[::3, 0] = 1.0
    found = knn(vectors, 99, queries=np.array([0, 1]), index="exact")
    assert found.ids[0].tolist() == list(range(3, 300, 3))
    assert (found.scores[0] == 1.0).all()
    assert (found.scores[1] == 0.0).all()
    assert found.ids[1].tolist() == [i for i in range(101) if i != 1][:99]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_type_and_length_is_taken(dtype: type) -> None:
    vectors: NDArray[Any] = clustered(300, 16).astype(dtype)
    plain = knn(vectors, 5)
    scaled = knn(vectors * dtype(64), 5)
    assert np.array_equal(plain.ids, scaled.ids)
    if dtype is np.float64:
        assert np.array_equal(knn(vectors * 2.0**1000, 5).ids, plain.ids)
        assert np.array_equal(knn(vectors * 2.0**-1000, 5).ids, plain.ids)
    fortran = knn(np.asfortranarray(vectors)[::-1][::-1], 5)
    assert np.array_equal(fortran.ids, plain.ids)


@pytest.mark.parametrize("index", ["exact", "hnsw"])
def test_the_own_group_is_excluded_and_k_others_come_back(index: str) -> None:
    vectors = np.repeat(clustered(60, 32), 10, axis=0) + clustered(600, 32, 1) * 0.01
    groups = np.repeat(np.arange(60, dtype=np.uint32), 10)
    stored = _nextlong.Vectors.from_array(np.ascontiguousarray(vectors))
    search = open_search(stored, index=index, expected_queries=600, k=8, groups=groups)
    rows = np.arange(600)
    ids, _ = search.search(rows, 8)
    assert (ids >= 0).all()
    assert (groups[ids] != groups[:, None]).all()
    assert search.recall >= 0.95
    with pytest.raises(ConfigError, match="groups has 3 entries for 600 vectors"):
        open_search(stored, expected_queries=1, k=1, groups=groups[:3])


@pytest.mark.parametrize(
    ("index", "name"), [("hnsw", "shard-0000.usearch"), ("clustered", "lists.npy")]
)
def test_what_is_built_is_kept_and_used_again(index: str, name: str, tmp_path: Path) -> None:
    stored = _nextlong.Vectors.from_array(clustered(2000, 32))
    folder = tmp_path / "work" / "index"
    folder.mkdir(parents=True)
    said: list[str] = []

    def search(seed: int = 0) -> Search:
        tasks = Tasks(tmp_path, "index", {"seed": seed}, said.append)
        return open_search(
            stored, index=index, expected_queries=9, k=5, folder=folder, tasks=tasks, seed=seed
        )

    rows = np.arange(0, 2000, 7)
    ids, scores = search().search(rows, 5)
    path = folder / name
    first, stamp = path.read_bytes(), path.stat().st_mtime_ns
    again, again_scores = search().search(rows, 5)
    assert path.stat().st_mtime_ns == stamp
    assert said == []
    assert np.array_equal(ids, again)
    assert np.array_equal(scores, again_scores)
    path.write_bytes(first[:1000])
    assert np.array_equal(search().search(rows, 5)[0], ids)
    assert f"index: work/index/{name}" in said[0]
    assert path.read_bytes() == first
    search(seed=1)
    assert "seed" in said[1]
    kept = {"hnsw": [name], "clustered": ["list-rows.npy", "list-starts.npy", name]}
    assert sorted(file.name for file in folder.iterdir()) == kept[index]


def test_only_the_missing_shard_is_built_again(tmp_path: Path) -> None:
    stored = _nextlong.Vectors.from_array(clustered(70_000, 8))
    folder = tmp_path / "work" / "index"
    folder.mkdir(parents=True)

    def search() -> NDArray[np.int64]:
        tasks = Tasks(tmp_path, "index", {}, lambda _: None)
        opened = open_search(
            stored, index="hnsw", expected_queries=9, k=5, folder=folder, tasks=tasks
        )
        return opened.search(np.arange(0, 70_000, 997), 5)[0]

    ids = search()
    shards = sorted(folder.iterdir())
    assert len(shards) > 2
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in shards}
    (tmp_path / "work" / "_done" / "index" / "00001.json").unlink()
    shards[1].unlink()
    assert np.array_equal(search(), ids)
    for path, (stamp, content) in before.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == stamp) == (path != shards[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "invalid `k`: 0"),
        ({"k": True}, "invalid `k`: True"),
        ({"k": 2.5}, "invalid `k`: 2.5"),
        ({"index": "faiss"}, "invalid `index`: 'faiss'"),
        ({"min_recall": 1.5}, "invalid `min_recall`: 1.5"),
        ({"threads": 0}, "threads is 0"),
        ({"vectors": np.ones(5)}, "vectors has the shape"),
        ({"vectors": np.ones((5, 0))}, "vectors has the shape"),
        ({"vectors": np.ones((5, 4), dtype=np.int64)}, "vectors is of type int64"),
        ({"vectors": np.array([[1.0, 2.0], [np.nan, 0.0]])}, "row 1 of vectors"),
        ({"vectors": np.array([[np.inf, 2.0]])}, "row 0 of vectors"),
        ({"queries": np.array([30])}, "query row 30 does not exist"),
        ({"queries": np.array([0, -1])}, "query row -1 does not exist"),
        ({"queries": np.ones((2, 3))}, "queries have 3 dimensions, vectors have 4"),
        ({"queries": np.array([True, False])}, "array of bool"),
        ({"queries": np.array([[1, 2]])}, "2-dimensional"),
        ({"vectors": [[1.0, 2.0], [1.0]]}, "vectors cannot be read .* rows of one length"),
        ({"vectors": [["a"]]}, "vectors is of type"),
        ({"queries": [[1.0, 2.0], [1.0]]}, "queries cannot be read"),
        ({"queries": np.array(3)}, "0-dimensional"),
        ({"queries": np.array(["a"])}, "give row numbers"),
        ({"k": 1 << 21}, "invalid `k`: 2097152, expected a whole number from 1 to 1048576"),
        ({"k": 1 << 70}, "invalid `k`: 118"),
        ({"k": "3"}, "invalid `k`: '3'"),
        ({"seed": -1}, "invalid `seed`: -1"),
        ({"seed": 1 << 64}, "invalid `seed`: 18446744073709551616"),
        ({"seed": 1.5}, "invalid `seed`: 1.5"),
        ({"seed": None}, "invalid `seed`: None"),
        ({"min_recall": "0.9"}, "invalid `min_recall`: '0.9'"),
        ({"min_recall": float("nan")}, "invalid `min_recall`: nan"),
        ({"min_recall": None}, "invalid `min_recall`: None"),
        ({"threads": 1.0}, "threads is 1.0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    settings: dict[str, object] = {"vectors": np.ones((30, 4)), "k": 2} | arguments
    with pytest.raises(ConfigError, match=message):
        knn(**settings)  # type: ignore[arg-type]


def test_full_precision_is_kept_and_measured() -> None:
    # Differences that float16 cannot hold.
    vectors = np.ones((64, 8), dtype=np.float32)
    vectors[:, 0] += np.random.default_rng(0).permutation(64) * 1e-5
    found = knn(vectors, 63, index="exact")
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    np.testing.assert_allclose(found.scores[:, -1], (wide @ wide.T).min(axis=1), atol=2e-7)
    assert len(np.unique(knn(vectors.astype(np.float16), 63).scores)) <= len(
        np.unique(found.scores)
    )


def test_stored_vectors_that_are_no_numbers_are_refused() -> None:
    values = np.ones((10, 4), dtype=np.float32)
    values[3] = 1e30  # infinite in float16
    with pytest.raises(RetrievalError, match="row 3"):
        open_search(_nextlong.Vectors.from_array(values), expected_queries=1, k=1)


def test_auto_says_why() -> None:
    found = knn(clustered(500, 16), 4)
    assert found.engine == "exact"
    assert found.reason.startswith("exact: 500 queries of 500 vectors of 16 dimensions, k 4")
    assert found.seconds > 0
    for engine in ("exact", "clustered", "hnsw"):
        assert re.search(rf"{engine} \d\.\d\de-?\d+ s", found.reason)
    assert _nextlong.choose_engine(50_000_000, 50_000_000, 32, 256, 0.95)[0] == "clustered"
    assert _nextlong.choose_engine(50_000_000, 100, 32, 256, 0.95)[0] == "exact"
    many = knn(clustered(30_000, 16), 4, threads=2)
    assert many.engine == "clustered"
    assert many.recall >= 0.95


def test_progress_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    knn(clustered(500, 16), 4, progress=True)
    assert "500 of 500 query" in capfd.readouterr().err
    knn(clustered(500, 16), 4)
    assert capfd.readouterr().err == ""


def test_another_thread_runs_meanwhile_and_a_stop_is_heard() -> None:
    stored = _nextlong.Vectors.from_array(clustered(20_000, 128))
    search = open_search(stored, index="exact", expected_queries=1, k=10, min_recall=0.0)
    watch = _nextlong.Watch()
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(100):
                search.search(np.arange(20_000), 10, watch=watch)
        except BaseException as error:
            outcome.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    ticks, until = 0, time.perf_counter() + 0.3
    while time.perf_counter() < until:
        ticks += 1
    watch.cancel()
    stopped = time.perf_counter()
    worker.join()
    assert time.perf_counter() - stopped < 1.0
    assert ticks > 1000
    assert isinstance(outcome[0], KeyboardInterrupt)


def test_unit_rows_are_the_same_on_any_threads_and_name_the_first_wrong_row() -> None:
    values = np.random.default_rng(1).normal(size=(9000, 200)).astype(np.float32)
    alone, full = unit_rows(values, "vectors")
    with Pool(3) as pool:
        assert full
        assert unit_rows(values, "vectors", pool)[0].tobytes() == alone.tobytes()
        values[[4000, 8000], 7] = np.nan
        with pytest.raises(ConfigError, match="row 4000 of vectors"):
            unit_rows(values, "vectors", pool)


def with_kernel(kernel: str | None, *engines: str) -> subprocess.CompletedProcess[str]:
    """Searches in a process of its own; prints the kernel and a hash of what the engines find."""
    script = """if True:
        import hashlib
        import sys
        import numpy as np
        from nextlong_rs import Index, _nextlong, knn

        vectors = np.random.default_rng(0).normal(size=(3000, 96)).astype("f4")
        digest = hashlib.sha256()
        for engine in sys.argv[1:]:
            if engine == "kept":
                found = Index.build(vectors, threads=2).search(vectors, 10, threads=2)
            else:
                found = knn(vectors, 10, index=engine, threads=2)
            digest.update(found.ids.tobytes() + found.scores.tobytes())
        core = _nextlong.Search(_nextlong.Vectors.from_array(vectors), "exact")
        print(core.kernel, digest.hexdigest(), sep="\\n")
    """
    environment = {name: value for name, value in os.environ.items() if name != "NEXTLONG_KERNEL"}
    if kernel is not None:
        environment["NEXTLONG_KERNEL"] = kernel
    return subprocess.run(
        [sys.executable, "-c", script, *engines], env=environment, capture_output=True, text=True
    )


def test_a_kernel_can_be_chosen_and_finds_the_same() -> None:
    engines = ("exact", "clustered", "kept")
    best, slow = with_kernel(None, *engines), with_kernel("serial", *engines)
    assert best.returncode == 0, best.stderr
    assert slow.returncode == 0, slow.stderr
    assert slow.stdout.split("\n")[0] == "serial"
    assert best.stdout.split("\n")[1] == slow.stdout.split("\n")[1]
    for engine in engines:
        wrong = with_kernel("abacus", engine)
        assert wrong.returncode != 0
        assert "NEXTLONG_KERNEL is abacus; this processor has" in wrong.stderr
        assert best.stdout.split("\n")[0] in wrong.stderr.split("this processor has")[1]
