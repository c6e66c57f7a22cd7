"""Chunks by characters: laws, the authors' rule transcribed, real text."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlong_rs.chunk import chunk, chunk_spans
from nextlong_rs.errors import ConfigError, CorpusError

CORPUS = Path(__file__).parents[2] / "shared" / "corpus" / "corpus_small.jsonl.zst"

PIECES = [
    *("a", "bc", "word", "Ab. ", "1.", " ", "\t", "\n", "\n", "\n\n", "\r", "\r\n", "\x0b", "\x0c"),
    *("\x1c", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000", "é", "e\u0301", "漢字", "。", "क्षि"),
    *("عربي", "😀", "👩\u200d🚀", "🇩🇪", "𝔘", "\u0600", "\u200d", "\ufeff", "\0"),
]


def authors_rule(text: str, limit: int) -> list[str]:
    """The authors' released function, transcribed from its description."""
    chunks: list[str] = []
    group: list[str] = []
    length = 0
    for line in text.split("\n"):
        if length + len(line) > limit:
            if length != 0:
                chunks.append("\n".join(group))
            group, length = [line], len(line)
        else:
            group.append(line)
            length += len(line)
    chunks.append("\n".join(group))
    return chunks


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.randrange(60)))


def test_the_paper_mode_is_the_authors_rule_on_10000_texts() -> None:
    rng = random.Random(0)
    for _ in range(10_000):
        text, size = random_text(rng), rng.randint(1, 40)
        chunks = chunk(text, size=size, mode="paper")
        assert chunks == authors_rule(text, size)
        spans = chunk_spans(text, size=size, mode="paper").tolist()
        assert [text[start:end] for start, end in spans] == chunks


def test_the_default_mode_keeps_its_laws_on_10000_texts() -> None:
    rng = random.Random(1)
    for _ in range(10_000):
        text, size = random_text(rng), rng.randint(1, 40)
        holds_its_laws(text, size)


@pytest.mark.parametrize(
    ("text", "size", "chunks"),
    [
        ("", 10, [""]),
        ("\n".join("a" * 10), 10, ["\n".join("a" * 10)]),
        ("\n\n" + "a" * 25, 10, ["a" * 25]),
        ("ab\rcd\nef", 5, ["ab\rcd", "ef"]),
        ("a" * 25 + "\n" + "b", 10, ["a" * 25, "b"]),
    ],
)
def test_the_named_examples_of_the_paper_mode(text: str, size: int, chunks: list[str]) -> None:
    assert chunk(text, size=size, mode="paper") == chunks


@given(text=st.text(st.characters(exclude_categories=["Cs"])), size=st.integers(1, 30))
def test_any_text_keeps_the_laws(text: str, size: int) -> None:
    holds_its_laws(text, size)
    assert chunk(text, size=size, mode="paper") == authors_rule(text, size)


def holds_its_laws(text: str, size: int) -> None:
    chunks = chunk(text, size=size)
    assert "".join(chunks) == text
    assert all(0 < len(one) <= size for one in chunks)
    assert all(len(one) + len(next_one) > size for one, next_one in pairwise(chunks))
    spans = chunk_spans(text, size=size)
    assert spans.dtype == np.int64
    assert spans.shape == (len(chunks), 2)
    assert [text[start:end] for start, end in spans.tolist()] == chunks


def test_a_chunk_begins_with_a_line_break_only_where_blanks_alone_are_too_long() -> None:
    rng = random.Random(2)
    for _ in range(3000):
        line_ends = ["\n", "\n", "\n \n", "\r\n"]
        words = rng.choices(
            ["one", "two two", "three. ", "漢字", "a" * 79, "b" * 90, *line_ends], k=60
        )
        for one in chunk("".join(words), size=80)[1:]:
            blank = one[: len(one) - len(one.lstrip())]
            assert "\n" not in blank


@pytest.mark.parametrize("language", ["zh", "ar", "hi", "en"])
def test_real_text_of_many_scripts(language: str) -> None:
    texts = corpus_texts(lambda row: row.get("lang", "en") == language)
    assert texts, f"no text in {language}"
    for text in texts[:40]:
        for size in (64, 512, 2048):
            holds_its_laws(text, size)
            assert chunk(text, size=size, mode="paper") == authors_rule(text, size)


def corpus_texts(choose: Callable[[dict[str, Any]], bool]) -> list[str]:
    if not CORPUS.exists():
        pytest.skip(f"the sample corpus {CORPUS.name} is not here")
    zstandard = pytest.importorskip("zstandard")
    with CORPUS.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
        rows = [json.loads(line) for line in io.TextIOWrapper(stream, "utf-8")]
    return [row["text"] for row in rows if choose(row)]


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"size": -1},
        {"unit": "bytes"},
        {"mode": "authors"},
        {"unit": "tokens"},
        {"unit": "tokens", "mode": "paper", "tokenizer": "tokenizer.json"},
        {"tokenizer": "tokenizer.json"},
    ],
)
@pytest.mark.parametrize("function", [chunk, chunk_spans])
def test_a_wrong_argument_is_refused(
    function: Callable[..., Any], settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        function("text", **settings)


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    with pytest.raises(CorpusError, match="character 2"):
        chunk("ab\ud800")


def test_chunks_by_tokens_lose_nothing_and_keep_the_size() -> None:
    from nextlong_rs import sample_tokenizer
    from nextlong_rs.tokenize.load import load

    tokenizer = load(sample_tokenizer())
    text = "".join(f"Line {n}: some words, 中文字 and ünïcode.\n" for n in range(200))
    text += "one line without an end " * 300
    chunks = chunk(text, size=64, unit="tokens", tokenizer=sample_tokenizer())
    assert "".join(chunks) == text
    assert max(tokenizer.count(piece) for piece in chunks) <= 64
    spans = chunk_spans(text, size=64, unit="tokens", tokenizer=tokenizer)
    assert [text[start:stop] for start, stop in spans.tolist()] == chunks
