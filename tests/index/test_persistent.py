"""`Index`: built, grown, saved, loaded, searched."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nextlong_rs import ConfigError, Index, Neighbours, RetrievalError

ROWS, DIM = 20_000, 16

Floats = NDArray[np.float32]


def rows(count: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(64, DIM))
    values = centres[rng.integers(64, size=count)] + 0.8 * rng.normal(size=(count, DIM))
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> Floats:
    return rows(ROWS)


@pytest.fixture(scope="module")
def whole(vectors: Floats) -> Index:
    return Index.build(vectors, threads=1)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(left: Neighbours, right: Neighbours) -> bool:
    return (
        left.ids.tobytes() == right.ids.tobytes()
        and left.scores.tobytes() == right.scores.tobytes()
        and (left.recall, left.reason) == (right.recall, right.reason)
    )


def test_what_is_found_is_what_numpy_finds(whole: Index, vectors: Floats) -> None:
    queries = rows(200, seed=1)
    found = whole.search(queries, 10, min_recall=0.99)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ unit.T
    truth = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    hits = [len(set(a) & set(b)) for a, b in zip(found.ids.tolist(), truth.tolist(), strict=True)]
    assert np.mean(hits) / 10 > 0.97
    assert found.recall >= 0.99
    assert found.engine == "hnsw"
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, found.ids, 1), atol=2e-3)
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_any_pieces_and_threads_give_the_same_bytes(
    tmp_path: Path, whole: Index, vectors: Floats
) -> None:
    whole.save(tmp_path / "whole")
    queries = rows(50, seed=2)
    for number, cuts in enumerate([[0], [1, 5, 16_384, 16_390], [9_000, 18_000]]):
        pieces = np.split(vectors, cuts)
        index = Index.build(pieces[0], threads=2)
        for piece in pieces[1:]:
            index.add(piece, threads=3)
        assert same(index.search(queries, 7, threads=3), whole.search(queries, 7, threads=1))
        index.save(tmp_path / str(number))
        assert files(tmp_path / str(number)) == files(tmp_path / "whole")


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 300), max_size=4),
    k=st.integers(1, 400),
    queries=st.lists(st.integers(0, 299), max_size=9),
)
def test_pieces_do_not_matter(cuts: list[int], k: int, queries: list[int]) -> None:
    vectors = rows(300)
    vectors[::7] = 0
    vectors[1::7] = vectors[3]
    index = Index.build(vectors[:0])
    for piece in np.split(vectors, sorted(cuts)):
        index.add(piece)
    wanted = np.array(queries, dtype=np.int64)
    assert same(index.search(wanted, k), Index.build(vectors).search(wanted, k, threads=1))


def test_a_row_is_not_its_own_neighbour_but_a_vector_finds_itself(
    whole: Index, vectors: Floats
) -> None:
    for some in (np.arange(0, 500, 50), np.arange(ROWS - 300, ROWS, 50)):
        by_row = whole.search(some, 5)
        assert not (by_row.ids == some[:, None]).any()
        by_value = whole.search(vectors[some], 6)
        assert (by_value.ids[:, 0] == some).mean() > 0.9
    assert whole.search(np.array([], dtype=np.int64), 5).ids.shape == (0, 5)


def test_what_was_saved_is_loaded_and_grows_on(
    tmp_path: Path, whole: Index, vectors: Floats
) -> None:
    whole.save(tmp_path)
    loaded = Index.load(tmp_path, threads=2)
    assert (len(loaded), loaded.dim) == (ROWS, DIM)
    assert repr(loaded) == f"Index({ROWS:,} rows, dim=16, shards=1)"
    assert same(loaded.search(vectors[:40], 9), whole.search(vectors[:40], 9))
    loaded.add(vectors[:1000])
    (tmp_path / "notes.txt").write_text("mine")
    loaded.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4  # vectors, shard, index.json, notes
    again = Index.load(tmp_path)
    assert len(again) == ROWS + 1000
    grown = Index.build(np.concatenate([vectors, vectors[:1000]]))
    assert same(again.search(vectors[:40], 9), grown.search(vectors[:40], 9))


def test_saving_again_writes_only_what_changed(tmp_path: Path, whole: Index) -> None:
    whole.save(tmp_path)
    stamps = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*-*")}
    Index.load(tmp_path).save(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*-*")} == stamps


def test_a_save_that_fails_leaves_the_old_index(
    tmp_path: Path, vectors: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    Index.build(vectors[:50]).save(tmp_path)
    index = Index.load(tmp_path)
    index.add(vectors[:50])

    def fails(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("nextlong_rs.index.persistent.write_json", fails)
    with pytest.raises(OSError, match="no space"):
        index.save(tmp_path)
    assert len(Index.load(tmp_path)) == 50


def test_the_empty_index_is_one_too(tmp_path: Path) -> None:
    empty = Index.build(np.empty((0, 3)))
    assert (empty.search(np.ones((2, 3)), 4).ids == -1).all()
    empty.save(tmp_path)
    loaded = Index.load(tmp_path)
    loaded.add(np.eye(3))
    assert loaded.search(np.array([[0.0, 1.0, 0.0]]), 1).ids.tolist() == [[1]]


def test_nothing_is_measured_where_none_is_wanted(whole: Index, vectors: Floats) -> None:
    found = whole.search(vectors[:3], 4, min_recall=None)
    assert np.isnan(found.recall)
    assert "not measured" in found.reason


def test_searches_go_on_while_rows_are_added(vectors: Floats) -> None:
    index = Index.build(vectors[:1000])
    before = index.search(vectors[:20], 5)
    wrong: list[str] = []

    def search() -> None:
        for _ in range(20):
            found = index.search(vectors[:20], 5, threads=1)
            if not same(found, before) and found.ids.max() < 1000:
                wrong.append("neither before nor after")

    workers = [threading.Thread(target=search) for _ in range(3)]
    for worker in workers:
        worker.start()
    adders = [threading.Thread(target=index.add, args=(vectors[:700],)) for _ in range(2)]
    for adder in adders:
        adder.start()
    for thread in workers + adders:
        thread.join()
    assert not wrong
    assert len(index) == 2400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update(format="nextlong_rs index 9"), "format"),
        (lambda found: found.update(rows=7), "should be"),
        (lambda found: found.update(rows=-1), "rows is -1"),
        (lambda found: found.update(dim=0), "out of range"),
        (lambda found: found.update(dim=True), "dim is True"),
        (lambda found: found.update(seed=1 << 70), "seed is"),
        (lambda found: found.update(vectors="x"), "vectors has the entry"),
        (lambda found: found.update(shards=[["../../etc/passwd", 3, "0" * 32]]), "shards has"),
        (lambda found: found.update(shards=[]), "0 shards where 1 should be"),
        (lambda found: found["vectors"][0].__setitem__(1, 12), "bytes, not 12"),
        (lambda found: found["vectors"][0].__setitem__(2, "0" * 32), "hash has changed"),
        (lambda found: found.update(shards=found["vectors"]), "build the index again"),
    ],
)
def test_a_damaged_manifest_is_refused(
    tmp_path: Path, whole: Index, change: Any, message: str
) -> None:
    whole.save(tmp_path)
    path = tmp_path / "index.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(RetrievalError, match=re.escape(message)):
        Index.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\xff", '{"format": 3}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RetrievalError, match=re.escape("index.json is damaged")):
        Index.load(tmp_path)
    with pytest.raises(RetrievalError, match="cannot be read"):
        Index.load(tmp_path / "none")


def test_damaged_files_are_refused(tmp_path: Path, whole: Index) -> None:
    whole.save(tmp_path / "good")
    names = [path.name for path in (tmp_path / "good").glob("*-*")]
    assert len(names) == 2
    for name in names:
        for damage in ("cut", "bit", "gone", "folder"):
            folder = tmp_path / f"{name}-{damage}"
            shutil.copytree(tmp_path / "good", folder)
            path = folder / name
            whole_file = path.read_bytes()
            path.unlink()
            if damage == "cut":
                path.write_bytes(whole_file[:-1])
            elif damage == "bit":
                path.write_bytes(whole_file[:500] + bytes([whole_file[500] ^ 1]) + whole_file[501:])
            elif damage == "folder":
                path.mkdir()
            with pytest.raises(RetrievalError, match=re.escape(name)):
                Index.load(folder)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda index: Index.build(np.ones(3)), "vectors has the shape"),
        (lambda index: Index.build([[1.0], [1.0, 2.0]]), "rows of one length"),
        (lambda index: Index.build(np.ones((2, 2)), seed=-1), "invalid `seed`: -1"),
        (lambda index: Index.build(np.ones((2, 2)), threads=0), "threads is 0"),
        (lambda index: index.add(np.ones((2, 3))), "vectors have 3 dimensions, the index 16"),
        (lambda index: index.add(np.full((1, DIM), np.nan)), "row 0 of vectors"),
        (lambda index: index.search(np.ones((2, 3)), 1), "queries have 3 dimensions"),
        (lambda index: index.search(np.array([ROWS]), 1), f"query row {ROWS} does not exist"),
        (lambda index: index.search(np.array([0]), 0), "invalid `k`: 0"),
        (lambda index: index.search(np.array([0]), 1 << 70), "invalid `k`: 118"),
        (lambda index: index.search(np.array([0]), 1, min_recall=2), "invalid `min_recall`: 2"),
    ],
)
def test_wrong_arguments_are_named(whole: Index, call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        call(whole)
    assert len(whole) == ROWS
