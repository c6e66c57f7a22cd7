"""How fast texts are embedded (MB of UTF-8 a second, one core) and a model is fitted (seconds).

The peer is scikit-learn: `HashingVectorizer` and `TruncatedSVD` with two power iterations, one thread;
beside both stands how well their vectors know which chunks are of one document. `TruncatedSVD alone`
is timed on its ready matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from benches.baseline import same_document_recall

from nextlong_rs.chunk import chunk
from nextlong_rs.embed.embedder import Embedder

FIT_CHUNKS = 50_000
DIM = 256


@pytest.fixture(scope="module")
def owned(inputs: Any) -> tuple[list[str], list[int]]:
    """Chunks of about 2 KB, as many as a model is fitted on, spread over the corpus; their documents."""
    pieces = [(piece, number) for number, text in enumerate(inputs.texts) for piece in chunk(text)]
    picks = np.linspace(0, len(pieces) - 1, min(FIT_CHUNKS, len(pieces)), dtype=int)
    some = [pieces[pick] for pick in picks]
    return [piece for piece, _ in some], [number for _, number in some]


@pytest.fixture(scope="module")
def texts(owned: tuple[list[str], list[int]]) -> list[str]:
    """The chunks alone."""
    return owned[0]


def same_document(owned: tuple[list[str], list[int]], encode: Callable[[list[str]], Any]) -> float:
    """Same-document recall@10 among every third chunk."""
    vectors = np.asarray(encode(owned[0][::3]), dtype=np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return same_document_recall(vectors, owned[1][::3])


def sklearn_pipeline() -> Any:
    """Hash words, weight them, reduce: the peer, not fitted."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    pipeline = pytest.importorskip("sklearn.pipeline")
    return pipeline.make_pipeline(
        text.HashingVectorizer(n_features=2**16, alternate_sign=False, norm=None, dtype=np.float32),
        text.TfidfTransformer(sublinear_tf=True),
        decomposition.TruncatedSVD(DIM, n_iter=2, random_state=0),
    )


@pytest.mark.parametrize("engine", ["nextlong_rs", "sklearn"])
def test_fit(benchmark: Any, report: Any, owned: tuple[list[str], list[int]], engine: str) -> None:
    """Fit 256 dimensions, from the texts on, one thread."""
    texts, _ = owned
    stage = f"fit the embedder on {len(texts):,} chunks"
    if engine == "sklearn":
        pipeline = sklearn_pipeline()
        threads = pytest.importorskip("threadpoolctl").threadpool_limits(1)
        with threads:
            benchmark.pedantic(lambda: pipeline.fit(texts), rounds=1)
        quality = same_document(owned, pipeline.transform)
        report(stage, "scikit-learn", len(texts), "chunks/s", same_document=quality)
    else:
        benchmark.pedantic(lambda: Embedder.fit(texts, dim=DIM, threads=1), rounds=2)
        quality = same_document(owned, Embedder.fit(texts, dim=DIM, threads=1).encode)
        report(stage, engine, len(texts), "chunks/s", same_document=quality)


def test_svd_alone(benchmark: Any, report: Any, texts: list[str]) -> None:
    """The decomposition without the words: less than what ours does in `test_fit`."""
    pipeline = sklearn_pipeline()
    matrix = pipeline[:-1].fit_transform(texts)
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        benchmark.pedantic(lambda: pipeline[-1].fit(matrix), rounds=1)
    stage = f"fit the embedder on {len(texts):,} chunks"
    report(stage, "TruncatedSVD alone", len(texts), "chunks/s", ratio=3.0)


@pytest.mark.parametrize("engine", ["nextlong_rs", "sklearn"])
def test_encode(benchmark: Any, report: Any, texts: list[str], engine: str) -> None:
    """Embed chunks with 256 dimensions, one thread."""
    some = texts[:: max(1, len(texts) // 10_000)]
    size = sum(len(text.encode()) for text in some) / 1e6
    if engine == "sklearn":
        pipeline = sklearn_pipeline()
        threads = pytest.importorskip("threadpoolctl").threadpool_limits(1)
        with threads:
            pipeline.fit(some[:2000])
            benchmark.pedantic(lambda: pipeline.transform(some), rounds=1)
        report("embed with the fitted model", "scikit-learn", size, "MB/s")
    else:
        embedder = Embedder.fit(some, dim=DIM)
        benchmark.pedantic(lambda: embedder.encode(some, threads=1), rounds=5, warmup_rounds=1)
        report("embed with the fitted model", engine, size, "MB/s", target=100.0)


@pytest.mark.parametrize("engine", ["nextlong_rs", "model2vec_in_python"])
def test_encode_static(
    benchmark: Any, report: Any, inputs: Any, texts: list[str], engine: str
) -> None:
    """Embed chunks with a real model2vec folder, one thread, beside its rule in Python."""
    folder = inputs.shared("models", "potion-base-4M-int8")
    if folder is None:
        pytest.skip("the static model is missing")
    some = texts[:: max(1, len(texts) // 2000)]
    size = sum(len(text.encode()) for text in some) / 1e6
    if engine == "nextlong_rs":
        embedder = Embedder.static(folder)
        benchmark.pedantic(lambda: embedder.encode(some, threads=1), rounds=3, warmup_rounds=1)
        report("embed with a static model", engine, size, "MB/s")
        return
    tokenizers = pytest.importorskip("tokenizers")
    load = pytest.importorskip("safetensors.numpy").load_file
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = load(folder / "model.safetensors")["embeddings"]

    def encode() -> None:
        for encoding in tokenizer.encode_batch_fast(some, add_special_tokens=False):
            vector = rows[encoding.ids].mean(0)
            vector / (np.linalg.norm(vector) + 1e-32)

    benchmark.pedantic(encode, rounds=1)
    report("embed with a static model", "its rule in Python", size, "MB/s")


SPACED = ["en", "ar", "hi", "ru"]


def paragraphs(inputs: Any, language: str) -> tuple[list[str], Any]:
    """The paragraphs of one language of XQuAD, five a document; the number of each one's document."""
    texts, owner = [], []
    rows = [row for row in inputs.documents if row.get("source") == f"xquad-{language}"]
    for number, row in enumerate(rows):
        own = [part for part in row["text"].split("\n") if len(part) > 80]
        texts += own
        owner += [number] * len(own)
    return texts, np.array(owner)


@pytest.mark.parametrize("engine", ["nextlong_rs", "sklearn"])
@pytest.mark.parametrize("language", ["en", "zh", "ar", "hi", "th", "ru"])
def test_few_texts(benchmark: Any, report: Any, inputs: Any, language: str, engine: str) -> None:
    """Share of the ten nearest that are of the paragraph's document, at most .4."""
    texts, owner = paragraphs(inputs, language)
    if not texts:
        pytest.skip("the corpus has no XQuAD")
    if engine == "nextlong_rs":

        def fit() -> Any:
            return Embedder.fit(texts, dim=DIM, threads=1).encode(texts)
    else:
        decomposition = pytest.importorskip("sklearn.decomposition")
        extraction = pytest.importorskip("sklearn.feature_extraction.text")
        if language in SPACED:
            # Words go on through combining marks, which `\\w` does not include.
            pattern = r"[^\s.,;:!?()\[\]\u0964\u060c\"]+"
            vectorizer = extraction.TfidfVectorizer(sublinear_tf=True, token_pattern=pattern)
        else:
            vectorizer = extraction.TfidfVectorizer(
                sublinear_tf=True, analyzer="char", ngram_range=(1, 2)
            )
        svd = decomposition.TruncatedSVD(min(DIM, len(texts) - 1), n_iter=2, random_state=0)

        def fit() -> Any:
            return svd.fit_transform(vectorizer.fit_transform(texts))

    vectors = benchmark.pedantic(fit, rounds=1)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -9)
    near = np.argsort(-similar, axis=1)[:, :10]
    found = float((owner[near] == owner[:, None]).mean())
    who = engine if engine == "nextlong_rs" else "TF-IDF and TruncatedSVD"
    report(
        f"fit on {len(texts)} paragraphs, {language}", who, len(texts), "chunks/s", precision=found
    )
