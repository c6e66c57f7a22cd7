"""How fast texts are embedded (MB of UTF-8 a second, one core) and a model is fitted (seconds).

The peer is scikit-learn: `HashingVectorizer` and `TruncatedSVD`, two power iterations as ours, one
thread. The input is real text from beside the repository where there is some, or else made up.
"""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlong_rs.chunking import chunk
from nextlong_rs.embed import Embedder

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
FIT_CHUNKS = 10_000
DIM = 256


@cache
def texts() -> list[str]:
    """Chunks of about 2 KB: of the real corpus, or of made-up words in natural shares."""
    path = SHARED / "corpus" / "corpus_medium.jsonl.zst"
    if path.is_file():
        import zstandard

        with path.open("rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file))
            documents = [json.loads(line)["text"] for line in lines]
        return [piece for document in documents[::3] for piece in chunk(document)]
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 10)))) for _ in range(40_000)]
    picks = (len(words) ** rng.random((20_000, 350))).astype(int) - 1
    return [" ".join(words[pick] for pick in row) for row in picks]


@cache
def sample() -> list[str]:
    """The chunks that a model is fitted on."""
    return texts()[:: max(1, len(texts()) // FIT_CHUNKS)][:FIT_CHUNKS]


@cache
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


def show(benchmark: Any, amount: float, unit: str) -> None:
    """Print and keep the best rate."""
    rate = amount / benchmark.stats["min"]
    benchmark.extra_info[unit] = round(rate, 1)
    print(f"\n{benchmark.name}: {rate:,.1f} {unit}")


@pytest.mark.parametrize("engine", ["nextlong_rs", "sklearn"])
def test_fit(benchmark: Any, engine: str) -> None:
    """Fit 256 dimensions on 10,000 chunks, from the texts on, one thread."""
    texts_ = sample()
    if engine == "sklearn":
        pipeline = sklearn_pipeline()
        threads = pytest.importorskip("threadpoolctl").threadpool_limits(1)
        with threads:
            benchmark.pedantic(lambda: pipeline.fit(texts_), rounds=1)
    else:
        benchmark.pedantic(lambda: Embedder.fit(texts_, dim=DIM, threads=1), rounds=3)
    show(benchmark, len(texts_), "chunks/s")


@pytest.mark.parametrize("engine", ["nextlong_rs", "sklearn"])
def test_encode(benchmark: Any, engine: str) -> None:
    """Embed chunks with 256 dimensions, one thread."""
    texts_ = sample()
    size = sum(len(text.encode()) for text in texts_) / 1e6
    if engine == "sklearn":
        pipeline = sklearn_pipeline()
        threads = pytest.importorskip("threadpoolctl").threadpool_limits(1)
        with threads:
            pipeline.fit(texts_[:2000])
            benchmark.pedantic(lambda: pipeline.transform(texts_), rounds=1)
    else:
        embedder = Embedder.fit(texts_, dim=DIM)
        benchmark.pedantic(lambda: embedder.encode(texts_, threads=1), rounds=5, warmup_rounds=1)
    show(benchmark, size, "MB/s")


@pytest.mark.parametrize("engine", ["nextlong_rs", "model2vec_in_python"])
def test_encode_static(benchmark: Any, engine: str) -> None:
    """Embed chunks with a real model2vec folder, one thread, beside its rule in Python."""
    folder = SHARED / "models" / "potion-base-4M-int8"
    if not folder.is_dir():
        pytest.skip("the static model is missing")
    texts_ = sample()[:2000]
    size = sum(len(text.encode()) for text in texts_) / 1e6
    if engine == "nextlong_rs":
        embedder = Embedder.static(folder)
        benchmark.pedantic(lambda: embedder.encode(texts_, threads=1), rounds=3, warmup_rounds=1)
    else:
        tokenizers = pytest.importorskip("tokenizers")
        load = pytest.importorskip("safetensors.numpy").load_file
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        rows = load(folder / "model.safetensors")["embeddings"]

        def encode() -> None:
            for encoding in tokenizer.encode_batch_fast(texts_, add_special_tokens=False):
                vector = rows[encoding.ids].mean(0)
                vector / (np.linalg.norm(vector) + 1e-32)

        benchmark.pedantic(encode, rounds=1)
    show(benchmark, size, "MB/s")
