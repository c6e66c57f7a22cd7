"""Hostile corpora, embedders, tokenizers and settings: each ends well or in one clear error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from tests.support.hostile import GOOD, outcome, text
from tokenizers import models, normalizers, pre_tokenizers, processors

import nextlong_rs as nl

NOTHING = "RunError: no sequences produced"
IDS: tuple[Any, ...] = (1, 1.5, np.int64(3), True, {}, "\udc00", 10**6000, "x" * 5000)
SCORES: tuple[Any, ...] = ("x", float("nan"), float("inf"), True, [], 1e400)

TEXTS = [text(number) for number in range(20)]


class Strange(Mapping[str, Any]):
    """A mapping that gives more than it should."""

    def __getitem__(self, key: str) -> Any:
        return {"text": "a b c", "id": b"bytes"}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Streams:
    """What gives a capsule of the Arrow interface, perhaps a wrong one."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __arrow_c_stream__(self, schema: object = None) -> object:
        return self.capsule


def read_before() -> Streams:
    streams = Streams(pa.table({"text": TEXTS}).__arrow_c_stream__())
    assert pa.RecordBatchReader._import_from_c_capsule(streams.capsule).read_all().num_rows == 20
    return streams


CORPORA: dict[str, tuple[Callable[[], Any], dict[str, Any], str | dict[str, int]]] = {
    # name: (inputs, changed settings, the quarantine or how the error begins)
    "one document": (lambda: iter(TEXTS[:1]), {}, {}),
    "one character": (lambda: iter(["a"]), {}, {}),
    "no document": (lambda: iter([]), {}, "CorpusError: the corpus has no usable text"),
    "identical documents": (lambda: iter(TEXTS[:1] * 200), {}, {}),
    "identical documents, dropped": (lambda: iter(TEXTS[:1] * 200), {"on_short": "drop"}, NOTHING),
    "one-word documents": (lambda: (f"w{n}" for n in range(20_000)), {}, {}),
    "one-word documents, too short": (
        lambda: (f"w{n}" for n in range(1000)),
        {"min_meta_chunks": 2},
        "CorpusError: no document can become a sequence",
    ),
    "no words": (lambda: iter(["!? \n" * 300] * 9), {}, "EmbeddingError: none of the"),
    "no spaces": (lambda: iter(["a" * 200_000, "好" * 200_000, *TEXTS]), {}, {}),
    "one grapheme": (lambda: iter(["e" + "\u0301" * 50_000, "👩‍" * 20_000, *TEXTS]), {}, {}),
    "nothing but line ends": (
        lambda: iter(["\n" * 100_000 + "a", "\r" * 100_000 + "a", "\r\n" * 9999 + "a", *TEXTS]),
        {},
        {},
    ),
    "blanks behind a line end": (lambda: iter(["a\n" + " " * 300_000 + "b", *TEXTS]), {}, {}),
    "items of every type": (
        lambda: iter([*TEXTS, None, 3, b"x", ["a"], object(), {}, {"text": None}, {"text": 1}, "\ud800"]),
        {},
        {"not an object": 5, "text is missing": 2, "text is not a string": 1, "lone surrogate": 1},
    ),
    "ids of every type": (
        lambda: iter(
            [{"text": "a b", "id": id} for id in IDS]
            + [{"text": one} for one in TEXTS]
        ),
        {},
        {"id is neither a string nor a number": 3, "lone surrogate": 1, "id is over the limit": 1},
    ),
    "a strange mapping": (
        lambda: iter([Strange(), *TEXTS]),
        {},
        {"id is neither a string nor a number": 1},
    ),
    "scores of every type": (
        lambda: iter(
            [{"text": "a b", "score": one} for one in SCORES]
            + [{"text": one, "score": 1} for one in TEXTS]
        ),
        {"score_column": "score"},
        {"score is not a number": 6},
    ),
    "negative scores": (
        lambda: iter([{"text": one, "score": -1} for one in TEXTS]),
        {"score_column": "score"},
        "CorpusError: 20 of 20 rows cannot be used (score is below 0: 20)",
    ),
    "scores of nothing": (
        lambda: iter([{"text": one, "score": 0} for one in TEXTS]),
        {"score_column": "score"},
        "CorpusError: no document can become a sequence",
    ),
    "scores that overflow": (
        lambda: [(iter([{"text": one, "score": 1e308} for one in TEXTS]), 1e300), (iter(TEXTS), 1)],
        {"score_column": "score"},
        {},
    ),
    "bytes": (lambda: b"abc", {}, "ConfigError: unsupported input type `bytes`"),
    "a stream that is none": (
        lambda: Streams(3),
        {},
        "CorpusError: __arrow_c_stream__ gave no capsule",
    ),
    "a stream that is a schema": (
        lambda: Streams(pa.schema({"text": pa.string()}).__arrow_c_schema__()),
        {},
        "CorpusError: __arrow_c_stream__ gave no capsule",
    ),
    "a stream that was read before": (
        read_before,
        {},
        "CorpusError: the Arrow stream: C Data interface error: input stream is already released",
    ),
}  # fmt: skip


def expect(found: object, expected: str | dict[str, int]) -> None:
    if isinstance(expected, str):
        assert isinstance(found, str), found
        assert found.startswith(expected), found
    else:
        assert found == expected


@pytest.mark.parametrize("name", CORPORA)
def test_a_hostile_corpus_ends_well(name: str, tmp_path: Path) -> None:
    make, changes, expected = CORPORA[name]
    expect(outcome(make(), tmp_path / "out", **changes), expected)


@pytest.mark.slow
def test_a_million_one_word_documents_end_well(tmp_path: Path) -> None:
    assert outcome((f"w{n}" for n in range(1_000_000)), tmp_path / "out") == {}


def test_what_an_iterable_raises_is_its_own(tmp_path: Path) -> None:
    def failing() -> Iterator[str]:
        yield "a b"
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        outcome(failing(), tmp_path / "out")


def raising(texts: list[str]) -> Any:
    raise RuntimeError("no GPU")


EMBEDDERS: dict[str, tuple[Any, str | dict[str, int]]] = {
    "all zeros": (lambda texts: np.zeros((len(texts), 4)), {}),
    "all the same": (lambda texts: np.ones((len(texts), 4)), {}),
    "tiny": (lambda texts: np.full((len(texts), 4), 1e-45, np.float32), {}),
    "huge": (lambda texts: np.full((len(texts), 4), 3e38, np.float32), {}),
    "too huge for float32": (lambda texts: np.full((len(texts), 4), 1e300), "EmbeddingError: "),
    "NaN": (lambda texts: np.full((len(texts), 4), np.nan), "EmbeddingError: "),
    "infinity": (lambda texts: np.full((len(texts), 4), -np.inf), "EmbeddingError: "),
    "one row too few": (lambda texts: np.ones((len(texts) - 1, 4)), "EmbeddingError: "),
    "one row too many": (lambda texts: np.ones((len(texts) + 1, 4)), "EmbeddingError: "),
    "flat": (lambda texts: np.ones(len(texts)), "EmbeddingError: "),
    "no columns": (lambda texts: np.ones((len(texts), 0)), "EmbeddingError: "),
    "deep": (lambda texts: np.ones((len(texts), 2, 2)), "EmbeddingError: "),
    "texts": (lambda texts: np.array([["a"]] * len(texts)), "EmbeddingError: "),
    "objects": (lambda texts: np.array([[object()]] * len(texts)), "EmbeddingError: "),
    "ragged": (lambda texts: [[1.0] * (1 + n % 2) for n in range(len(texts))], "EmbeddingError: "),
    "complex": (lambda texts: np.ones((len(texts), 2), complex), "EmbeddingError: "),
    "nothing": (lambda texts: None, "EmbeddingError: "),
    "raising": (raising, "EmbeddingError: the embedder failed on batch 0"),
    "an array of too few rows": (np.ones((3, 4)), "EmbeddingError: "),
    "an array of NaN": (np.full((57, 4), np.nan), "EmbeddingError: "),
    "a number": (3, "ConfigError: "),
    "no path": ("", "ConfigError: "),
    "a missing path": ("missing.npy", "EmbeddingError: "),
    "a device": ("/dev/zero", "ConfigError: "),
    "a folder of nothing": ("{tmp}", "EmbeddingError: "),
}


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_hostile_embedder_ends_well(name: str, tmp_path: Path) -> None:
    embedder, expected = EMBEDDERS[name]
    if isinstance(embedder, str) and embedder == "{tmp}":
        embedder = str(tmp_path)
    expect(outcome(iter(TEXTS), tmp_path / "out", embedder=embedder), expected)


def words(**changes: Any) -> tokenizers.Tokenizer:
    """A tokenizer of single letters."""
    vocabulary = {letter: number for number, letter in enumerate("abcdefgh \n")}
    if changes.get("unknown", True):
        vocabulary["?"] = len(vocabulary)
        made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    else:
        made = tokenizers.Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return made


def with_post_processor() -> tokenizers.Tokenizer:
    made = words()
    made.add_special_tokens(["<s>", "</s>"])
    ids = [("<s>", 11), ("</s>", 12)]
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s> </s>", pair=None, special_tokens=ids
    )
    return made


def with_padding() -> tokenizers.Tokenizer:
    made = words()
    made.enable_padding(length=1000)
    made.enable_truncation(3)
    return made


def that_deletes() -> tokenizers.Tokenizer:
    made = words()
    made.normalizer = normalizers.Replace(tokenizers.Regex("[\\s\\S]"), "")
    return made


TOKENIZERS: dict[str, tuple[Callable[[], Any], dict[str, Any], str | dict[str, int]]] = {
    "adds tokens": (with_post_processor, {}, {}),
    "pads and truncates": (with_padding, {}, {}),
    "has no BOS": (words, {}, {}),
    "has no BOS that was named": (words, {"bos": "<s>"}, "ConfigError: "),
    "knows no letter": (lambda: words(unknown=False), {}, {}),
    "gives no tokens": (that_deletes, {}, {}),
    "gives no tokens, exact": (that_deletes, {"on_short": "drop"}, NOTHING),
    "gives no tokens, by tokens": (that_deletes, {"chunk_unit": "tokens"}, {}),
    "has no vocabulary": (lambda: tokenizers.Tokenizer(models.BPE()), {}, {}),
    "is a number": (lambda: 3, {}, "TokenizerError: "),
    "is missing": (lambda: "missing.json", {}, "TokenizerError: "),
    "is a device": (lambda: "/dev/null", {}, "TokenizerError: "),
    "is a folder": (lambda: "/", {}, "TokenizerError: "),
    "is no JSON": (lambda: "{tmp}", {}, "TokenizerError: "),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_hostile_tokenizer_ends_well(name: str, tmp_path: Path) -> None:
    make, changes, expected = TOKENIZERS[name]
    tokenizer = make()
    if tokenizer == "{tmp}":
        tokenizer = tmp_path / "tokenizer.json"
        tokenizer.write_bytes(b'{"model": ' + b"[" * 100_000)
    expect(outcome(iter(TEXTS), tmp_path / "out", tokenizer=tokenizer, **changes), expected)


GOOD_SETTINGS: dict[str, list[Any]] = {
    "seq_len": [16, 17, 1 << 28],
    "num_sequences": [1, 2**63],
    "chunk_size": [3, 2**32 - 1],
    "dim": [1, 1024],
    "range_min": [2**32 - 1],
    "range_max": [1],
    "num_negatives": [1, 2**32 - 1],
    "max_reuse": [1, 2**32 - 1],
    "containment_words": [1, 2**32 - 1],
    "chars_per_token": [1e-300, 1e300],
    "length_factor": [1e-300, 1e300],
    "fit_chunks": [1, 2**32 - 1],
    "seed": [2**64 - 1],
    "chunk_separator": ["\0", "x" * 5000, ""],
    "min_recall": [0, 1],
    "max_document_bytes": [2**47],
}
BAD_SETTINGS: dict[str, list[Any]] = {
    "seq_len": [1, 0, -1, 2**31, 2**64, 1.5, "x", True, None],
    "num_sequences": [0, -1, 2**64, True, "-"],
    "chunk_size": [0, -1, 2**32],
    "dim": [0, 4097, 2**31],
    "min_meta_chunks": [0],
    "chars_per_token": [0, float("nan"), float("inf")],
    "seed": [-1, 2**64, "a"],
    "chunk_separator": ["\ud800", "token:missing", None],
    "text_column": ["", "\ud800", None, 3],
    "id_column": ["", "\udfff"],
    "bos": [-1, 10**9, 2**40, "missing", True],
    "eos": [1.5, []],
    "max_document_bytes": [0, -1, 2**60],
    "max_error_rate": [-1, 2, float("nan"), "a"],
    "unknown": [1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GOOD_SETTINGS.items() for value in values]
)
def test_an_absurd_setting_ends_well(name: str, value: Any, tmp_path: Path) -> None:
    for mode in ("default", "paper"):
        if (name, mode) != ("chunk_size", "paper"):
            changes = {name: value, "mode": mode}
            found = outcome(iter(TEXTS[:6]), tmp_path / mode, **changes)
            assert isinstance(found, dict) or found.startswith(
                ("CorpusError", "ConfigError", NOTHING)
            ), found


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_SETTINGS.items() for value in values]
)
def test_a_wrong_setting_is_one_error(name: str, value: Any, tmp_path: Path) -> None:
    found = outcome(iter(TEXTS[:6]), tmp_path / "out", **{name: value})
    assert isinstance(found, str)
    assert found.startswith("ConfigError: "), found


def test_an_output_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(GOOD))
    assert str(outcome(path, path)).startswith("ConfigError: invalid `output`")
    assert str(outcome(path, tmp_path)).startswith("RunError: output")
    assert str(outcome(iter(TEXTS), tmp_path)).startswith("RunError: output")
    assert nl.__version__
    assert os.listdir(tmp_path) == ["a.jsonl"]
