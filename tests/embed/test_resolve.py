"""What a run takes as its embedder: functions, ready vectors, models; parts of a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.embedding import documents, write_static

from nextlong_rs import _nextlong
from nextlong_rs.corpus.blocks import CorpusConfig, read_blocks
from nextlong_rs.corpus.inputs import resolve
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.embed.function import CallableEmbedder, encode_with
from nextlong_rs.embed.precomputed import ReadyVectors, checked_rows
from nextlong_rs.embed.resolve import describe, open_embedder
from nextlong_rs.engine.pool import Pool
from nextlong_rs.errors import ConfigError, EmbeddingError


class FakeStore:
    """As much of a chunk store as a function needs."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self, start: int, stop: int) -> list[str]:
        return self._texts[start:stop]


def lengths(texts: list[str]) -> NDArray[np.float64]:
    return np.array([[len(text), 1.0] for text in texts])


def test_a_function_is_called_in_batches_in_order() -> None:
    calls: list[list[str]] = []

    def embedder(texts: list[str]) -> NDArray[np.float64]:
        calls.append(texts)
        return lengths(texts)

    texts = [str(10**number) for number in range(10)]
    vectors = encode_with(embedder, texts, batch_texts=4)
    assert [len(call) for call in calls] == [4, 4, 2]
    assert [text for call in calls for text in call] == texts
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[3, 0] == pytest.approx(4 / np.sqrt(17))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: np.ones((len(texts) + 1, 3)), r"batch 0 .* has shape \(3, 3\)"),
        (lambda texts: np.ones(len(texts)), r"has shape \(2,\); it must be \(2, dim\)"),
        (lambda texts: np.full((len(texts), 3), np.nan), r"batch 0 .* nan in row 0, column 0"),
        (lambda texts: np.full((len(texts), 3), 1e300), r"holds 1e\+300"),
        (lambda texts: [["a"]] * len(texts), "type <U1"),
        (lambda texts: [[1.0], [1.0, 2.0]], "no array"),
        (lambda texts: 1 / 0, "failed on batch 0 .*ZeroDivisionError"),
        (lambda texts: None, "type object"),
    ],
)
def test_a_wrong_answer_of_a_function_is_named(answer: Any, message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        encode_with(answer, ["a", "b"])


def test_a_function_that_changes_its_columns_is_refused() -> None:
    def embedder(texts: list[str]) -> NDArray[np.float64]:
        return np.ones((len(texts), len(texts)))

    with pytest.raises(EmbeddingError, match=r"batch 1 \(texts 2 to 2\) has 1 columns"):
        encode_with(embedder, ["a", "b", "c"], batch_texts=2)


def test_a_part_of_a_function_holds_its_rows(tmp_path: Path) -> None:
    store: Any = FakeStore([str(number) * (number % 7) for number in range(50)])
    path = tmp_path / "part.npy"
    embedder = CallableEmbedder(lengths, batch_texts=7)
    embedder.embed_part(store, 10, 50, path)
    assert embedder.dim == 2
    part = np.load(path)
    assert part.dtype == np.float16
    assert np.allclose(part, encode_with(lengths, store.texts(10, 50)), atol=1e-3)
    embedder.dim = 3
    with pytest.raises(EmbeddingError, match="2 columns for chunk 0, 3 before it"):
        embedder.embed_part(store, 0, 10, path)


def test_ready_vectors_of_an_npy_file_are_checked_and_normalised(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 5))
    np.save(tmp_path / "v.npy", rows)
    ready = ReadyVectors(tmp_path / "v.npy")
    ready.check(20)
    with pytest.raises(EmbeddingError, match="20 rows, the corpus 21 chunks"):
        ready.check(21)
    assert np.allclose(ready.read(3, 9), rows[3:9] / np.linalg.norm(rows[3:9], axis=1)[:, None])
    store: Any = FakeStore(["text"] * 20)
    ready.embed_part(store, 3, 9, tmp_path / "part.npy")
    assert np.load(tmp_path / "part.npy").shape == (6, 5)
    rows[4, 2] = np.inf
    np.save(tmp_path / "v.npy", rows)
    with pytest.raises(EmbeddingError, match="inf in row 4, column 2"):
        ReadyVectors(tmp_path / "v.npy").read(3, 9)
    np.save(tmp_path / "flat.npy", np.ones(4))
    with pytest.raises(EmbeddingError, match="shape"):
        ReadyVectors(tmp_path / "flat.npy")
    with pytest.raises(ConfigError, match="leave out column"):
        ReadyVectors(tmp_path / "v.npy", column="vector")


def test_ready_vectors_of_a_parquet_column_cross_row_groups(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    expected = rows / np.linalg.norm(rows, axis=1)[:, None]
    kinds = [arrow.list_(arrow.float32()), arrow.list_(arrow.float32(), 4)]
    for kind in kinds:
        paths = []
        for number, part in enumerate([rows[:17], rows[17:]]):
            table = arrow.table({"vector": arrow.array(list(part), type=kind)})
            paths.append(tmp_path / f"{number}.parquet")
            parquet.write_table(table, paths[-1], row_group_size=5)
        ready = ReadyVectors(paths, column="vector")
        assert len(ready) == 30
        for start, stop in [(0, 30), (4, 6), (16, 18), (29, 30), (5, 5)]:
            assert np.allclose(ready.read(start, stop), expected[start:stop], atol=1e-6)
    with pytest.raises(EmbeddingError, match="no column 'text'; it has vector"):
        ReadyVectors(paths, column="text")
    for broken, message in [
        ([[1.0, 2.0], [1.0]], "row 1 has 1 values, row 0 has 2"),
        ([[1.0], None], "row 1 has no vector"),
        ([[1.0], [None]], "missing value"),
    ]:
        table = arrow.table({"vector": arrow.array(broken, type=kinds[0])})
        parquet.write_table(table, tmp_path / "broken.parquet")
        with pytest.raises(EmbeddingError, match=message):
            ReadyVectors(tmp_path / "broken.parquet", column="vector").read(0, 2)


def test_rows_of_a_checked_array_keep_zeros() -> None:
    rows = checked_rows([[3, 4], [0, 0]], rows=2, name="the rows")
    assert np.allclose(rows, np.array([[0.6, 0.8], [0.0, 0.0]]))


def chunk_store(folder: Path, texts: list[str]) -> _nextlong.ChunkStore:
    """Write every text as a document of one chunk, in two parts."""
    paths = []
    for number, half in enumerate([texts[:90], texts[90:]]):
        lines = folder / f"{number}.jsonl"
        lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in half))
        config = CorpusConfig()
        (block,) = read_blocks(resolve(lines), config)
        paths.append(folder / f"{number}.arrow")
        _nextlong.chunk_part(block.parse(), paths[-1], mode="lossless", size=2048)
    return _nextlong.ChunkStore(paths)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> _nextlong.ChunkStore:
    """Make a store of 200 chunks."""
    return chunk_store(tmp_path_factory.mktemp("chunks"), documents()[0])


def test_the_parts_of_a_run_hold_the_vectors_of_its_chunks(
    store: _nextlong.ChunkStore, tmp_path: Path
) -> None:
    texts = store.texts(0, len(store))
    static = tmp_path / "static"
    static.mkdir()
    write_static(static, np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32))
    saved = tmp_path / "saved.safetensors"
    Embedder.fit(texts, dim=16).save(saved)
    np.save(tmp_path / "ready.npy", lengths(texts))
    kinds: list[tuple[Any, NDArray[np.float32]]] = [
        ("lsa", Embedder.fit(texts, dim=24, seed=4).encode(texts)),
        (str(saved), Embedder.load(saved).encode(texts)),
        (Embedder.load(saved), Embedder.load(saved).encode(texts)),
        (static, Embedder.static(static).encode(texts)),
        (lengths, encode_with(lengths, texts)),
        (lengths(texts), encode_with(lengths, texts)),
        (tmp_path / "ready.npy", encode_with(lengths, texts)),
    ]
    for number, (chosen, expected) in enumerate(kinds):
        assert describe(chosen)
        folder = tmp_path / str(number)
        with Pool(2) as pool:
            embedder = open_embedder(
                chosen,
                store,
                dim=24,
                seed=4,
                idf_power=1.5,
                fit_chunks=50_000,
                boilerplate_share=0.01,
                folder=folder,
                pool=pool,
            )
            path = tmp_path / f"{number}.npy"
            embedder.embed_part(store, 20, 90, path, watch=pool.watch)
            assert pool.watch.done >= 70
        part = np.load(path)
        assert part.dtype == np.float16
        assert np.array_equal(part, expected[20:90].astype(np.float16))
        assert (folder / "model.safetensors").exists() == (number == 0)


def test_an_embedder_that_is_none_is_refused(store: _nextlong.ChunkStore, tmp_path: Path) -> None:
    for wrong, error, message in [
        (7, ConfigError, "embedder is 7; give 'lsa'"),
        ("lsi", ConfigError, "'lsi', which is neither 'lsa' nor a file"),
        (np.ones((3, 2)), EmbeddingError, "3 rows, the corpus 200 chunks"),
    ]:
        with Pool(1) as pool, pytest.raises(error, match=message):
            open_embedder(
                wrong,
                store,
                dim=8,
                seed=0,
                idf_power=1.5,
                fit_chunks=10,
                boilerplate_share=0.01,
                folder=tmp_path,
                pool=pool,
            )


def test_a_fit_stops_when_it_is_asked_to(store: _nextlong.ChunkStore) -> None:
    watch = _nextlong.Watch()
    watch.cancel()
    with pytest.raises(KeyboardInterrupt):
        Embedder.fit_store(store, watch=watch)
