"""Chunks by tokens and with an overlap: their laws, and the object that keeps a tokenizer."""

from __future__ import annotations

import gc
import json
import os
import pickle
import weakref
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

import nextlong_rs as nl
from nextlong_rs.chunk import Unit
from nextlong_rs.errors import ConfigError, CorpusError, TokenizerError
from nextlong_rs.tokenize import cache as tokenizer_cache
from nextlong_rs.tokenize.load import load
from nextlong_rs.tokenize.python import PythonEncoder
from nextlong_rs.tokenize.tokenizer import Tokenizer

SAMPLE = Path(str(nl.sample_tokenizer()))

texts = st.lists(
    st.sampled_from(
        [
            *("one", "two two", "three. ", "Four? Yes. ", " ", "\n", "\n", "\n\n \n", "\r\n", "\t"),
            *("漢字。", "क्षि", "عربي", "e\u0301", "👩\u200d🚀", "🇩🇪", "a" * 30, "\u3000", "\u2028"),
        ]
    ),
    max_size=40,
).map("".join)


def words(text: str) -> int:
    """Counts what adds up only at white space."""
    return len(text.split())


def characters(text: str) -> int:
    return len(text)


@pytest.fixture(scope="module")
def sample() -> Tokenizer:
    return load(SAMPLE)


def measure(unit: str, tokenizer: Any) -> Any:
    if unit == "chars":
        return len
    return tokenizer.count if isinstance(tokenizer, Tokenizer) else tokenizer


def holds_its_laws(chunker: nl.Chunker, text: str) -> None:
    count = measure(chunker.unit, chunker.tokenizer)
    spans = chunker.spans(text).tolist()
    assert chunker.chunk(text) == [text[start:end] for start, end in spans]
    if not text:
        assert spans == []
        return
    assert (spans[0][0], spans[-1][1]) == (0, len(text))
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start <= end < next_end
        if chunker.overlap == 0:
            assert next_start == end
        else:
            assert count(text[next_start:end]) <= chunker.overlap
    for start, end in spans:
        assert start < end
        assert count(text[start:end]) <= chunker.size or end - start == 1


@given(text=texts, size=st.integers(1, 40), share=st.floats(0, 1, exclude_max=True))
def test_chunks_by_characters_keep_the_laws_of_an_overlap(
    text: str, size: int, share: float
) -> None:
    holds_its_laws(nl.Chunker(size, overlap=int(size * share)), text)


@given(text=texts, size=st.integers(1, 40), share=st.floats(0, 1, exclude_max=True))
def test_chunks_by_tokens_keep_the_laws_of_an_overlap(
    sample: Tokenizer, text: str, size: int, share: float
) -> None:
    for tokenizer in (sample, words):
        holds_its_laws(nl.Chunker(size, "tokens", tokenizer, overlap=int(size * share)), text)


@given(text=texts, size=st.integers(1, 40), overlap=st.integers(0, 39))
def test_a_function_that_counts_characters_cuts_as_characters_do(
    text: str, size: int, overlap: int
) -> None:
    overlap %= size
    by_function = nl.Chunker(size, "tokens", characters, overlap=overlap)
    assert by_function.chunk(text) == nl.Chunker(size, overlap=overlap).chunk(text)


def test_an_overlap_is_the_last_lines_or_pieces_of_the_chunk_before() -> None:
    lines = "".join(f"Line {number}.\n" for number in range(10))
    chunks = nl.chunk(lines, size=32, overlap=16)
    assert chunks[0] == "Line 0.\nLine 1.\nLine 2.\nLine 3.\n"
    assert chunks[1] == "Line 2.\nLine 3.\nLine 4.\nLine 5.\n"
    sentences = "It rained all day. We stayed at home. Then it stopped. We went out.\n"
    assert nl.chunk(sentences, size=40, overlap=20) == [
        "It rained all day. We stayed at home.",
        " We stayed at home. Then it stopped.",
        " Then it stopped. We went out.\n",
    ]
    words_only = nl.chunk("one two three four five six", size=12, overlap=6)
    assert all(second.split()[0] in first for first, second in pairwise(words_only))
    # A new line is whole, even where that leaves no room for the overlap.
    assert nl.chunk("aaaa\nbbbbbbbbb\n", size=10, overlap=5) == ["aaaa\n", "bbbbbbbbb\n"]
    assert nl.chunk("漢字漢字漢字漢字", size=4, overlap=2)[:2] == ["漢字漢字", "漢字漢字"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 8, "overlap": 8}, "overlap"),
        ({"size": 8, "overlap": 9}, "overlap"),
        ({"size": 8, "overlap": -1}, "overlap"),
        ({"size": 8, "overlap": True}, "overlap"),
        ({"size": 8, "overlap": 1.5}, "overlap"),
        ({"size": 8, "overlap": 2, "mode": "paper"}, "paper"),
        ({"unit": "tokens", "tokenizer": len, "mode": "paper"}, "paper"),
        ({"unit": "tokens"}, "tokenizer"),
        ({"tokenizer": len}, "tokenizer"),
        ({"mode": "authors"}, "mode"),
    ],
)
def test_a_chunker_that_cannot_cut_is_refused_when_it_is_made(
    arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        nl.Chunker(**arguments)
    with pytest.raises(ConfigError, match=named):
        nl.chunk("text", **arguments)


@pytest.mark.parametrize("unit", ["chars", "tokens", "function"])
def test_chunks_of_many_texts_do_not_depend_on_threads(unit: str) -> None:
    documents = [f"Document {n}.\n" + f"Line {n} of some words.\n" * (n % 50) for n in range(3000)]
    tokenizer = {"chars": None, "tokens": SAMPLE, "function": words}[unit]
    kind: Unit = "chars" if unit == "chars" else "tokens"
    chunker = nl.Chunker(40, kind, tokenizer, overlap=10)
    expected = [chunker.chunk(text) for text in documents]
    for threads in (None, 1, 3):
        assert chunker.chunk_all(iter(documents), threads) == expected
    assert chunker.chunk_all([]) == []
    with pytest.raises(ConfigError, match="texts"):
        chunker.chunk_all("a text")
    with pytest.raises(ConfigError, match="threads"):
        chunker.chunk_all(documents, threads=0)
    with pytest.raises(CorpusError, match="text 2 .* character 1"):
        chunker.chunk_all(["a", "b", "c\ud800"])


def test_a_chunker_is_pickled_with_its_tokenizer(sample: Tokenizer) -> None:
    text = "Some words, and\na second line.\n" * 20
    package = tokenizers.Tokenizer.from_file(str(SAMPLE))
    for tokenizer in (SAMPLE, str(SAMPLE), package, sample, words):
        chunker = nl.Chunker(12, "tokens", tokenizer, overlap=3)
        again = pickle.loads(pickle.dumps(chunker))
        assert again.chunk(text) == chunker.chunk(text)
        assert (again.size, again.unit, again.mode, again.overlap) == (12, "tokens", "lossless", 3)
    plain = nl.Chunker(100, mode="paper")
    assert pickle.loads(pickle.dumps(plain)) == plain


def counting_loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    loads: list[Any] = []

    def counted(tokenizer: Any) -> Tokenizer:
        loads.append(tokenizer)
        return load(tokenizer)

    monkeypatch.setattr(tokenizer_cache, "load", counted)
    tokenizer_cache._cache.clear()
    return loads


def test_a_file_is_loaded_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = counting_loads(monkeypatch)
    file = tmp_path / "tokenizer.json"
    file.write_bytes(SAMPLE.read_bytes())
    for given_path in (file, str(file), tmp_path, file):
        assert nl.chunk("one two", unit="tokens", tokenizer=given_path) == ["one two"]
    assert len(loads) == 1
    other = {"type": "WordLevel", "vocab": {"one": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    file.write_text(json.dumps({"model": other, "pre_tokenizer": {"type": "Whitespace"}}))
    os.utime(file, ns=(1, 1))
    assert nl.chunk("one two three", size=1, unit="tokens", tokenizer=file) == [
        "one",
        " two",
        " three",
    ]
    assert len(loads) == 2
    file.unlink()
    with pytest.raises(TokenizerError):
        nl.chunk("one", unit="tokens", tokenizer=file)


def test_an_object_is_loaded_once_until_tokens_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = counting_loads(monkeypatch)
    package = tokenizers.Tokenizer.from_file(str(SAMPLE))
    for _ in range(3):
        nl.chunk("one two", unit="tokens", tokenizer=package)
    assert len(loads) == 1
    package.add_tokens(["onetwothree"])
    nl.chunk("one two", unit="tokens", tokenizer=package)
    assert len(loads) == 2
    for number in range(10):
        other = tokenizers.Tokenizer.from_file(str(SAMPLE))
        other.add_tokens([f"token{number}"])
        nl.chunk("one two", unit="tokens", tokenizer=other)
    assert len(tokenizer_cache._cache) <= 4


def test_an_object_that_can_be_held_weakly_is() -> None:
    class Held:
        def __init__(self) -> None:
            self.package = tokenizers.Tokenizer.from_file(str(SAMPLE))

        def to_str(self) -> str:
            return str(self.package.to_str())

        def encode_batch(self, texts: list[str]) -> Any:
            return self.package.encode_batch(texts)

    held = Held()
    alive = weakref.ref(held)
    nl.chunk("one two", unit="tokens", tokenizer=held)
    del held
    gc.collect()
    assert alive() is None


def test_a_function_is_called_once_for_each_distinct_line_and_for_each_chunk() -> None:
    asked: Counter[str] = Counter()

    def count(text: str) -> int:
        asked[text] += 1
        return len(text.split())

    lines = [f"line {number % 7} of text\n" for number in range(700)]
    chunks = nl.chunk("".join(lines), size=50, unit="tokens", tokenizer=count)
    assert asked.total() <= 7 + len(chunks)
    assert max(asked.values()) == 1


@pytest.mark.parametrize("answer", [-1, 1.5, None, "3"])
def test_a_function_must_give_a_number(answer: Any) -> None:
    with pytest.raises(TokenizerError, match="count of tokens"):
        nl.chunk("one", unit="tokens", tokenizer=lambda _: answer)


def test_the_exception_of_a_function_is_the_callers() -> None:
    def fails(text: str) -> int:
        raise LookupError(text)

    with pytest.raises(LookupError, match="one"):
        nl.chunk("one\ntwo\n", unit="tokens", tokenizer=fails)
    with pytest.raises(LookupError, match="one"):
        nl.Chunker(unit="tokens", tokenizer=fails).chunk_all(["one\n", "two\n"])


def test_a_function_is_no_tokenizer_for_sequences(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="counts"):
        nl.synthesize([{"text": "a"}], output=tmp_path / "out", tokenizer=words)


def unable() -> Any:
    """A tokenizer that has no token for what it does not know."""
    model = tokenizers.models.WordLevel({"known": 0}, unk_token="[UNK]")
    package = tokenizers.Tokenizer(model)
    package.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return package


def test_a_text_that_cannot_be_encoded_is_an_error_and_not_cut() -> None:
    tokenizer = load(unable())
    assert nl.chunk("known known", size=1, unit="tokens", tokenizer=tokenizer) == [
        "known",
        " known",
    ]
    with pytest.raises(TokenizerError, match="strange"):
        nl.chunk("known\nstrange\n", unit="tokens", tokenizer=tokenizer)


@given(text=texts, size=st.integers(1, 30), overlap=st.integers(0, 29))
@settings(max_examples=25)
def test_the_python_encoder_cuts_as_the_core(
    sample: Tokenizer, text: str, size: int, overlap: int
) -> None:
    package = tokenizers.Tokenizer.from_file(str(SAMPLE))
    encoder = PythonEncoder.of_tokenizers(package, "a test")
    slow = Tokenizer(encoder, name="slow", declared={})
    by_core = nl.Chunker(size, "tokens", sample, overlap=overlap % size)
    in_python = nl.Chunker(size, "tokens", slow, overlap=overlap % size)
    assert in_python.chunk(text) == by_core.chunk(text)


def test_a_run_cuts_by_the_tokens_of_a_python_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nextlong_rs.tokenize import load as loading

    documents = [
        {"id": str(n), "text": "".join(f"Document {n}, line {m}.\n" for m in range(40))}
        for n in range(60)
    ]

    def chunks_of(name: str) -> list[int]:
        result = nl.synthesize(
            documents,
            output=tmp_path / name,
            tokenizer=SAMPLE,
            seq_len=1024,
            num_sequences=2,
            chunk_unit="tokens",
            chunk_size=100,
        )
        return list(result.sequence(0)["input_ids"])

    by_core = chunks_of("core")

    def refuse(text: str, instead: Any) -> Any:
        return instead(TokenizerError("a test"))

    monkeypatch.setattr(loading, "_encoder", refuse)
    assert chunks_of("python") == by_core
