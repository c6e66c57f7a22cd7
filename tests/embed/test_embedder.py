"""The embedders: laws, quality against scikit-learn, thread counts, bad input."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support.embedding import documents, write_static

from nextlong_rs.chunk import chunk
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.errors import ConfigError, EmbeddingError


def same_document_recall(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of the ten nearest that are of the row's document, of as many as there can be."""
    scores = vectors.astype(np.float32) @ vectors.T.astype(np.float32)
    np.fill_diagonal(scores, -np.inf)
    near = np.argpartition(-scores, 10, axis=1)[:, :10]
    hits = (labels[near] == labels[:, None]).sum(axis=1)
    others = np.bincount(labels)[labels] - 1
    many = others > 0
    return float((hits[many] / np.minimum(others[many], 10)).mean())


@pytest.fixture(scope="module")
def fitted() -> Embedder:
    return Embedder.fit(documents()[0], dim=32)


def test_a_chunk_finds_the_chunks_of_its_document() -> None:
    texts, labels = documents()
    vectors = Embedder.fit(texts, dim=64).encode(texts)
    chance = 4 / 199
    assert same_document_recall(vectors, labels) > 0.8 > 10 * chance


def bm25_svd(texts: list[str], dim: int) -> NDArray[np.float32]:
    """Compute what the fit is to be level with: scikit-learn's SVD of the same weights, no hashing."""
    sparse = pytest.importorskip("scipy.sparse")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    decomposition = pytest.importorskip("sklearn.decomposition")
    counts = text.CountVectorizer(token_pattern=r"[^\W_]+").fit_transform(texts).astype(float)
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5)) ** 1.5
    length = np.asarray(counts.sum(axis=1)).ravel()
    hold = 1.2 * (0.25 + 0.75 * length / length.mean())
    rows = counts.tocoo()
    weights = rows.data * 2.2 / (rows.data + hold[rows.row]) * idf[rows.col]
    matrix = sparse.csr_matrix((weights, (rows.row, rows.col)), shape=counts.shape)
    svd = decomposition.TruncatedSVD(dim, n_iter=2, random_state=0)
    vectors: NDArray[np.float32] = svd.fit_transform(matrix).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return vectors


@pytest.mark.parametrize("dim", [32, 64])
def test_it_is_level_with_scikit_learn(dim: int) -> None:
    texts, labels = documents(count=120)
    ours = same_document_recall(Embedder.fit(texts, dim=dim).encode(texts), labels)
    assert abs(ours - same_document_recall(bm25_svd(texts, dim), labels)) < 0.02


def test_real_chunks_find_their_document_as_with_scikit_learn(shared: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    with (shared / "corpus" / "corpus_small.jsonl.zst").open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().decode().splitlines()
    pieces = [chunk(json.loads(line)["text"]) for line in lines]
    texts = [text for document in pieces for text in document]
    labels = np.repeat(np.arange(len(pieces)), [len(document) for document in pieces])
    ours = same_document_recall(Embedder.fit(texts, dim=128).encode(texts), labels)
    assert ours > 0.4
    assert ours > same_document_recall(bm25_svd(texts, 128), labels) - 0.02


def test_chinese_needs_no_spaces() -> None:
    rng = np.random.default_rng(0)
    topics = ["长江流域水资源管理和防洪工程", "古代诗歌与文学批评的历史", "计算机程序设计语言原理"]
    texts, labels = [], []
    for document in range(30):
        topic = topics[document % 3]
        own = "".join(chr(0x4E00 + int(rng.integers(8000))) for _ in range(6))
        for _ in range(4):
            start = int(rng.integers(len(topic) - 5))
            texts.append(f"{topic[start : start + 5]}的{own}在{topic[:3]}。")
            labels.append(document)
    vectors = Embedder.fit(texts, dim=48).encode(texts)
    assert same_document_recall(vectors, np.array(labels)) > 0.9


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_do_not_change_a_byte(tmp_path: Path, threads: int) -> None:
    texts, _ = documents(count=400)
    one = Embedder.fit(texts, dim=40, seed=5, threads=1)
    other = Embedder.fit(texts, dim=40, seed=5, threads=threads)
    one.save(tmp_path / "one")
    other.save(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    many = texts * 4
    assert one.encode(many, threads=1).tobytes() == other.encode(many, threads=threads).tobytes()


def test_another_seed_gives_another_model() -> None:
    texts, _ = documents()
    one = Embedder.fit(texts, dim=8, seed=0).encode(texts[:3])
    assert not np.array_equal(one, Embedder.fit(texts, dim=8, seed=1).encode(texts[:3]))


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(max_size=200), max_size=8))
def test_any_text_gets_a_vector_of_length_one_or_zero(fitted: Embedder, texts: list[str]) -> None:
    vectors = fitted.encode(texts, threads=1)
    assert vectors.shape == (len(texts), 32)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=6), dim=st.integers(1, 20))
def test_a_fit_works_on_any_texts_that_have_a_word(texts: list[str], dim: int) -> None:
    vectors = Embedder.fit([*texts, "word"], dim=dim, threads=1).encode([*texts, "word"])
    assert vectors.shape == (len(texts) + 1, dim)
    sizes = np.linalg.norm(vectors, axis=1)
    assert np.all((np.abs(sizes - 1) < 1e-5) | (sizes == 0))
    assert sizes.any()


def test_a_text_of_unknown_words_or_none_is_the_zero_vector(fitted: Embedder) -> None:
    assert not fitted.encode(["", " …\n", "qqqqq zzzzzz"]).any()


def test_a_saved_embedder_gives_the_same_vectors(fitted: Embedder, tmp_path: Path) -> None:
    texts, _ = documents()
    fitted.save(tmp_path / "model.safetensors")
    again = Embedder.load(tmp_path / "model.safetensors")
    assert again.dim == fitted.dim == 32
    assert repr(again) == "Embedder(lsa, dim=32)"
    assert again.encode(texts).tobytes() == fitted.encode(texts).tobytes()


def test_a_damaged_model_is_refused(fitted: Embedder, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    whole = path.read_bytes()
    for length in [0, 4, 8, 100, 5000, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(EmbeddingError, match="fit the model again"):
            Embedder.load(path)
    header = int.from_bytes(whole[:8], "little")
    for byte in range(8, 8 + header, 3):
        broken = bytearray(whole)
        broken[byte] ^= 0x11
        path.write_bytes(broken)
        with contextlib.suppress(EmbeddingError):
            Embedder.load(path)
    with pytest.raises(FileNotFoundError):
        Embedder.load(tmp_path / "none")


def test_a_small_sample_is_drawn_from_many_texts() -> None:
    texts, _ = documents()
    few = Embedder.fit(texts, dim=4, sample=50)
    assert not np.array_equal(few.encode(texts[:2]), Embedder.fit(texts, dim=4).encode(texts[:2]))


def test_a_text_that_is_none_is_named(fitted: Embedder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text 1 holds a lone surrogate at character 2"):
        fitted.encode(["fine", "ab\ud800"])
    with pytest.raises(ConfigError, match="text 1 holds a lone surrogate"):
        Embedder.fit(["fine words", "\udfff"])
    with pytest.raises(ConfigError, match="text 0 is a int; give strings"):
        fitted.encode([3])  # type: ignore[list-item]
    with pytest.raises(EmbeddingError, match="is a folder, no saved embedder"):
        Embedder.load(tmp_path)


def test_a_bar_is_shown_only_on_request(capfd: pytest.CaptureFixture[str]) -> None:
    texts = ["the cat sat", "a dog ran", "shares fell"]
    fitted = Embedder.fit(texts, dim=2)
    fitted.encode(texts)
    assert capfd.readouterr().err == ""
    Embedder.fit(texts, dim=2, progress=True).encode(texts, progress=True)
    shown = capfd.readouterr().err
    assert "fit: " in shown
    assert "encode: 3 of 3 text" in shown


def test_wrong_settings_are_named() -> None:
    for message, settings_ in [
        ("invalid `dim`: 0", {"dim": 0}),
        ("invalid `dim`: 5000", {"dim": 5000}),
        ("invalid `idf_power`: -1", {"idf_power": -1.0}),
        ("invalid `seed`: -1", {"seed": -1}),
        (r"threads is 0", {"threads": 0}),
        ("invalid `sample`: 0", {"sample": 0}),
    ]:
        with pytest.raises(ConfigError, match=message):
            Embedder.fit(["a text"], **settings_)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one string"):
        Embedder.fit("a text")
    with pytest.raises(EmbeddingError, match="none of the 2 texts"):
        Embedder.fit(["…", ""])


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_a_static_folder_gives_the_normalised_mean(tmp_path: Path, dtype: str) -> None:
    rows = (np.random.default_rng(0).normal(size=(30, 7)) * 30).astype(dtype)
    words = write_static(tmp_path, rows)
    embedder = Embedder.static(tmp_path)
    assert embedder.dim == 7
    picks = [[1, 5, 5, 29], [2], []]
    texts = [" ".join(["Unheard", *[words[pick].upper() for pick in row]]) for row in picks]
    vectors = embedder.encode(texts)
    for vector, row in zip(vectors, picks, strict=True):
        mean = rows[row].astype(np.float64).sum(axis=0)
        expected = mean / np.linalg.norm(mean) if row else np.zeros(7)
        assert np.allclose(vector, expected, atol=1e-5)
    with pytest.raises(EmbeddingError, match="saved already"):
        embedder.save(tmp_path / "x")
    first = Embedder.static(tmp_path, max_tokens=1).encode([f"{words[1]} {words[2]}"])
    assert np.allclose(first, embedder.encode([words[1]]), atol=1e-6)


def test_a_static_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    rows = np.ones((30, 7), dtype=np.float32)
    write_static(tmp_path, rows)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for length in [0, 7, 50, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(EmbeddingError, match="model2vec folder"):
            Embedder.static(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        Embedder.static(tmp_path)


def test_a_real_static_model_agrees_with_the_tokenizers_package(shared: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = shared / "models" / "potion-base-4M-int8"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    data = (folder / "model.safetensors").read_bytes()
    body = 8 + int.from_bytes(data[:8], "little")
    rows = np.frombuffer(data[body:], dtype=np.int8).reshape(-1, 128)
    texts = [
        "The quick brown fox, doesn't it? [CLS] jumps\tover\x0bthe\x85lazy dog's tail.",
        "长江流域 水资源 naïve café ΣΊΣΥΦΟΣ हिन्दी में",
        "x" * 300 + " " + "unbelievably " * 20 + "\U0001f600 \u200b end",
        "",
        *documents(count=4)[0],
    ]
    for text, vector in zip(texts, Embedder.static(folder).encode(texts), strict=True):
        ids = [
            token for token in tokenizer.encode(text, add_special_tokens=False).ids if token != 1
        ]
        mean = rows[ids].astype(np.float64).sum(axis=0)
        expected = mean / max(float(np.linalg.norm(mean)), 1e-9)
        assert np.allclose(vector, expected, atol=1e-5), text
    limited = Embedder.static(folder, max_tokens=3).encode(["one two three four five six seven"])
    ids = tokenizer.encode("one two three four five six seven"[: 3 * 6]).ids[1:-1][:3]
    mean = rows[ids].astype(np.float64).sum(axis=0)
    assert np.allclose(limited[0], mean / np.linalg.norm(mean), atol=1e-5)
