"""Any input of the Python surface ends in a result that keeps the laws, or in one of our errors.

`HYPOTHESIS_PROFILE=slow` tries more (`make fuzz`).
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.errors import ConfigError, NextlongError
from nextlong_rs.index.knn import knn
from nextlong_rs.settings import Settings

TOKENIZER = Tokenizer.from_file(str(nl.sample_tokenizer()))
FEW = settings(max_examples=settings().max_examples if settings().max_examples > 100 else 25)

WORDS = st.sampled_from(
    ["the", "cat", "sat", "on", "a", "mat", "while", "dogs", "ran", "far", "away", "from", "rain"]
)
LINES = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
ODD = st.text(max_size=40) | st.sampled_from(
    ["\n\n", "\r\n", "e\u0301" * 9, "漢字。" * 9, "<|bos|>", "\0"]
)
TEXTS = st.lists(LINES | LINES | ODD, min_size=1, max_size=14).map("\n".join)

ABSURD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.integers(-(2**70), 2**70), st.lists(st.integers(), max_size=2),
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from([field.name for field in fields(Settings)]), ABSURD, max_size=4)
)
def test_any_settings_are_settings_or_a_config_error(changes: dict[str, Any]) -> None:
    try:
        made = Settings.of(**changes)
    except ConfigError:
        return
    assert Settings.of(**json.loads(made.to_json())) == made


@example("a", 2**64, "lossless")
@given(st.text(), st.integers(-3, 60) | st.integers(), st.sampled_from(["lossless", "paper", ""]))
def test_any_text_is_chunked_or_refused(text: str, size: int, mode: Any) -> None:
    with suppress(NextlongError):
        chunks = nl.chunk(text, size=size, mode=mode)
        spans = nl.chunk_spans(text, size=size, mode=mode)
        assert [text[start:stop] for start, stop in np.asarray(spans).tolist()] == chunks
        if mode == "lossless":
            assert "".join(chunks) == text
            assert all(len(one) <= size for one in chunks)


FLOATS = st.floats(-1, 1, width=32) | st.floats(width=32)


@given(st.integers(0, 12), st.integers(1, 5), st.data())
@FEW
def test_any_vectors_are_searched_or_refused(rows: int, dim: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(FLOATS, min_size=rows * dim, max_size=rows * dim))
    vectors = np.array(values, dtype=np.float32).reshape(rows, dim)
    k = data.draw(st.integers(-1, 20))
    with suppress(NextlongError):
        found = knn(vectors, k)
        assert found.ids.shape == found.scores.shape
        assert found.ids.max(initial=-1) < rows


@given(st.lists(TEXTS, max_size=6), st.integers(-1, 40) | st.just(4096), st.integers(-1, 2**64))
@FEW
def test_any_texts_are_embedded_or_refused(texts: list[str], dim: int, seed: int) -> None:
    with suppress(NextlongError):
        embedder = Embedder.fit(texts, dim=dim, seed=seed)
        rows = embedder.encode([*texts, "\0", ""])
        assert rows.shape == (len(texts) + 2, dim)
        lengths = np.linalg.norm(rows, axis=1)
        assert np.all((np.abs(lengths - 1) < 1e-2) | (lengths == 0))


CHANGES = st.fixed_dictionaries(
    {"seq_len": st.integers(16, 200), "chunk_size": st.integers(2, 60)},
    optional={
        "num_sequences": st.integers(1, 5),
        "seed": st.integers(0, 2**64 - 1),
        "chunk_mode": st.sampled_from(["lossless", "paper"]),
        "chunk_unit": st.sampled_from(["chars", "tokens"]),
        "dim": st.integers(1, 20),
        "idf_power": st.floats(0, 4),
        "fit_chunks": st.integers(1, 9),
        "index": st.sampled_from(["auto", "exhaustive", "exact", "clustered", "hnsw"]),
        "min_recall": st.floats(0, 1),
        "range_min": st.integers(0, 3),
        "range_max": st.none() | st.integers(4, 20),
        "min_score": st.none() | st.floats(-1, 0.5),
        "max_score": st.none() | st.floats(0.5, 1),
        "absolute_margin": st.none() | st.floats(0, 1),
        "relative_margin": st.none() | st.floats(0, 1),
        "exclude_same_doc": st.booleans(),
        "max_containment": st.none() | st.floats(0, 1),
        "containment_words": st.integers(1, 9),
        "num_negatives": st.none() | st.integers(1, 5),
        "max_reuse": st.none() | st.integers(1, 5),
        "max_per_doc": st.none() | st.integers(1, 5),
        "sampling_strategy": st.sampled_from(["top", "random"]),
        "collisions": st.sampled_from(["round-robin", "first-come"]),
        "min_meta_chunks": st.integers(1, 4),
        "long_documents": st.sampled_from(["skip", "pass"]),
        "length": st.sampled_from(["exact", "paper"]),
        "chars_per_token": st.floats(0.01, 100),
        "length_factor": st.floats(0.01, 100),
        "on_short": st.sampled_from(["drop", "shorten"]),
        "placement": st.sampled_from(["head", "tail", "random"]),
        "chunk_separator": st.sampled_from(["\n", "", "\n\n", " <sep> ", "token:<|bos|>"]),
        "bos": st.sampled_from(["auto", None]),
        "eos": st.sampled_from(["auto", None]),
        "max_document_bytes": st.integers(1, 500),
        "max_error_rate": st.just(1.0),
    },
)


@given(st.lists(TEXTS, min_size=1, max_size=25), CHANGES)
@FEW
def test_any_corpus_and_settings_keep_the_laws(texts: list[str], changes: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(NextlongError):
        items = [{"text": text, "id": str(number)} for number, text in enumerate(texts)]
        result = nl.synthesize(
            iter(items), Path(folder) / "out", tokenizer=nl.sample_tokenizer(),
            progress=False, threads=2, **changes,
        )  # fmt: skip
        found = [row for file in result.files for row in pq.read_table(file).to_pylist()]
        assert len(found) == len(result)
        assert len(found) <= changes.get("num_sequences", len(texts))
        for row in found:
            check(row, texts, changes)


def check(row: dict[str, Any], texts: list[str], changes: dict[str, Any]) -> None:
    """The laws of one sequence."""
    length = len(row["input_ids"])
    assert row["length"] == length <= changes["seq_len"]
    if changes.get("on_short") != "shorten":
        assert length == changes["seq_len"]
    starts = [*row["span_token_start"], length]
    used: list[tuple[str, int]] = []
    for at, role in enumerate(row["span_role"]):
        ids = row["input_ids"][starts[at] : starts[at + 1]]
        if role == 2:
            continue
        document, number = row["span_doc_id"][at], row["span_chunk"][at]
        source = texts[int(document)][row["span_char_start"][at] : row["span_char_end"][at]]
        decoded = TOKENIZER.decode(ids, skip_special_tokens=False)
        assert source.startswith(decoded.rstrip("\N{REPLACEMENT CHARACTER}"))
        if role == 0:
            assert document == row["meta_doc_id"]
        else:
            used.append((document, number))
            assert document != row["meta_doc_id"] or not changes.get("exclude_same_doc", True)
            assert row["span_score"][at] <= (changes.get("max_score") or 1.001) + 1e-3
    assert len(set(used)) == len(used)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_tokenizer_file_is_read_or_refused(content: bytes | str) -> None:
    with suppress(NextlongError):
        _nextlong.Tokenizer(content if isinstance(content, str) else content.decode("latin-1"))
