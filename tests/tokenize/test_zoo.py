"""Ids of chunks are those of the package `tokenizers`, for tokenizers of every kind."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.tokenizer_zoo import (
    BLOOM,
    DEEPSEEK_CODER,
    QWEN2,
    QWEN35,
    SUPERBPE,
    TEXTS,
    ZOO,
    byte_level,
    split,
    splitters,
)
from tests.tokenize.test_tokenizer import chunks, like_the_package, odd_text, shared

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.errors import TokenizerError
from nextlong_rs.tokenize.load import load
from nextlong_rs.tokenize.python import PythonEncoder
from nextlong_rs.tokenize.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="the laws compare with this package")

NAMES = list(ZOO)
MARKS = ('"type": "Prepend"', '"prepend_scheme": "first"', '"prepend_scheme": "always"')
FAST = {
    "gpt2", "qwen2", "llama3", "qwen3.5", "o200k", "deepseek v3", "deepseek coder", "bloom",
    "minicpm5", "superbpe", "mistral", "llama2", "gemma", "bert", "unigram always", "t5",
}  # fmt: skip
"""Those that must not be left to the slower package."""
PACKAGE = {
    "openai gpt", "clip", "falcon", "word characters", "ascii classes", "digits prefix space",
    "white space split first", "added single word in bert", "added in metaspace",
}  # fmt: skip
"""Those that the core refuses or encodes otherwise."""


@cache
def zoo_text(name: str) -> str:
    return ZOO[name]()


@cache
def ours(name: str) -> Tokenizer:
    return load(tokenizers.Tokenizer.from_str(zoo_text(name)))


class Law:
    """The ids of a chunk by the package alone.

    Truncation, padding and dropout are off, special-token strings are text, and a byte-level
    tokenizer puts no space before a text. Where something else is still put before a text, the ids
    are those after a line break, or after a full stop if the line break joins the chunk.
    """

    def __init__(self, text: str) -> None:
        file = json.loads(text)
        first = file["pre_tokenizer"] or {}
        first = (first.get("pretokenizers") or [first])[0]
        if first.get("type") == "ByteLevel":
            first["add_prefix_space"] = False
        file["model"].pop("dropout", None)
        parts = json.dumps([file["normalizer"], file["pre_tokenizer"]])
        self.marks = any(mark in parts for mark in (*MARKS, '"add_prefix_space": true'))
        self.package = tokenizers.Tokenizer.from_str(json.dumps(file))
        self.package.no_truncation()
        self.package.no_padding()
        self.package.encode_special_tokens = True

    def raw(self, text: str) -> list[int]:
        return list(self.package.encode(text, add_special_tokens=False).ids)

    def ids(self, text: str) -> list[int]:
        if text and self.marks:
            for opener in ("\n", "."):
                dropped, ids = self.raw(opener), self.raw(opener + text)
                if ids[: len(dropped)] == dropped:
                    return ids[len(dropped) :]
        return self.raw(text)


@cache
def law(name: str) -> Law:
    return Law(zoo_text(name))


words = st.sampled_from(sorted({word for text in TEXTS for word in text.split(" ")}))
zoo_words = st.lists(
    st.one_of(words, st.sampled_from([" ", "\n", "\n\n", "<tool>", "covid", "a", "1"])), max_size=12
)
zoo_chunks = st.one_of(odd_text, zoo_words.map(" ".join), zoo_words.map("".join))


def same(name: str, encoder: Any, text: str) -> None:
    assert encoder.encode_texts([text])[0].tolist() == law(name).ids(text), text


def test_the_zoo_has_every_kind() -> None:
    assert len(ZOO) >= 60
    parts = "".join(zoo_text(name) for name in NAMES)
    for part in (
        "BPE", "Unigram", "WordPiece", "WordLevel", "NFC", "NFD", "NFKC", "NFKD", "Lowercase",
        "Strip", "StripAccents", "Nmt", "Replace", "Prepend", "Precompiled", "BertNormalizer",
        "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "Metaspace",
        "BertPreTokenizer", "UnicodeScripts", "FixedLength", "CharDelimiterSplit",
        "TemplateProcessing",
    ):  # fmt: skip
        assert f'"type": "{part}"' in parts, part


@pytest.mark.parametrize("name", NAMES)
def test_ids_of_texts_are_those_of_the_package(name: str) -> None:
    for text in (*TEXTS, "", "\n", " ", "\n".join(TEXTS)):
        same(name, ours(name), text)


@pytest.mark.parametrize("name", NAMES)
@settings(suppress_health_check=list(HealthCheck))
@given(text=zoo_chunks)
def test_ids_of_fuzzed_text_are_those_of_the_package(name: str, text: str) -> None:
    if like_the_package(text):
        same(name, ours(name), text)


@pytest.mark.parametrize("name", NAMES)
@settings(suppress_health_check=list(HealthCheck), max_examples=20)
@given(text=zoo_chunks)
def test_the_fallback_obeys_the_same_laws(name: str, text: str) -> None:
    if like_the_package(text):
        same(name, fallback(name), text)


@cache
def fallback(name: str) -> PythonEncoder:
    return PythonEncoder.of_tokenizers(tokenizers.Tokenizer.from_str(zoo_text(name)), "a test")


@pytest.mark.parametrize("name", NAMES)
@settings(suppress_health_check=list(HealthCheck))
@given(text=zoo_chunks, data=st.data())
def test_safe_borders_change_no_id(name: str, text: str, data: st.DataObject) -> None:
    encoders: list[Any] = [ours(name), fallback(name)]
    place = data.draw(st.integers(0, len(text)))
    lines = [at + 1 for at, character in enumerate(text) if character == "\n"]
    for cut in [place, *lines]:
        left, right = text[:cut], text[cut:]
        for encoder in encoders:
            if encoder.is_safe_border(left, right):
                whole = encoder.encode_texts([text])[0].tolist()
                parts = encoder.encode_texts([left, right])[0].tolist()
                assert parts == whole, (left, right)


@pytest.mark.parametrize("name", NAMES)
def test_the_fast_encoder_is_used_where_it_is_right(name: str) -> None:
    is_fast = isinstance(ours(name).encoder, _nextlong.Tokenizer)
    if name in FAST:
        assert is_fast
    if name in PACKAGE:
        assert not is_fast
    said = [note for note in ours(name).notes if note.startswith("encoded by the tokenizers")]
    assert len(said) == (0 if is_fast else 1)


@pytest.mark.parametrize(
    "name",
    ["gpt2", "gpt2 prefix space", "qwen3.5", "superbpe", "digits", "mistral", "llama2", "gemma",
     "bpe metaspace always", "template", "ignore merges"],
)  # fmt: skip
@settings(suppress_health_check=list(HealthCheck))
@given(texts=st.lists(zoo_chunks, max_size=3))
def test_decoded_chunks_are_their_text(name: str, texts: list[str]) -> None:
    # The mark of a space is one in these files.
    texts = [text.replace("▁", "_") for text in texts]
    for encoder in (ours(name), fallback(name)):
        ids = encoder.encode_texts(texts)[0]
        assert encoder.decode(ids) == "".join(texts)


def test_borders_known_for_real_models() -> None:
    kinds = {
        "gpt2": "gpt2", "qwen2 nfc": "lines", "qwen3.5": "lines", "deepseek v3": "lines",
        "minicpm5": "lines", "o200k": "lines and slashes", "mistral": "newline",
        "llama2": "newline", "gemma line breaks": "lines", "bert": "words",
    }  # fmt: skip
    assert {name: ours(name).kind for name in kinds} == kinds


@pytest.mark.parametrize(
    "name",
    [
        "byte-level nmt", "byte-level strip", "byte-level replace", "bpe strip metaspace", "xlm-r",
        "white space split first", "added strips", "deepseek coder", "mistral joined lines",
    ],
)  # fmt: skip
def test_no_border_is_safe_where_it_is_not_known(name: str) -> None:
    for encoder in (ours(name), fallback(name)):
        assert not encoder.is_safe_border("a line.\n", "and one")


def test_a_file_whose_ids_are_far_above_its_tokens_is_refused(tmp_path: Path) -> None:
    for name, vocabulary in (("gpt2", None), ("bert", 4294967295), ("word level", 1 << 30)):
        file = json.loads(zoo_text(name))
        if vocabulary is None:
            file["added_tokens"][0]["id"] = 4294967295
        else:
            file["model"]["vocab"]["far"] = vocabulary
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(file))
        with pytest.raises(TokenizerError, match="far above|has the id"):
            load(path, lazy=True)


def test_what_the_core_cannot_encode_needs_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(zoo_text("openai gpt"))
    assert load(path).encode("a cat").tolist() == law("openai gpt").ids("a cat")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TokenizerError, match=r"end_of_word_suffix.*pip install"):
        load(path, lazy=True)
    path.write_text(zoo_text("bloom"))
    loaded = load(path)
    assert loaded.encode("a cat").tolist() == law("bloom").ids("a cat")
    assert any("not compared" in note for note in loaded.notes)


PATTERNS = {
    "qwen3.5": [QWEN35],
    "deepseek coder": list(DEEPSEEK_CODER),
    "bloom": [BLOOM],
    "minicpm5": [r"\p{N}{1,3}", QWEN2.replace(r"\p{N}|", r"\p{N}+|", 1)],
    "superbpe": list(SUPERBPE),
    "not white space": [r"\S+"],
    "look-behind": [r"(?<=\p{Ll})(?=\p{Lu})"],
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_real_vocabulary_with_patterns_of_real_models_gives_the_ids_of_the_package(
    name: str,
) -> None:
    file = json.loads(shared("tokenizers", "gpt2", "tokenizer.json").read_text())
    parts = [split(pattern) for pattern in PATTERNS[name]]
    file["pre_tokenizer"] = splitters(*parts, byte_level(regex=False))
    text = json.dumps(file)
    tokenizer = load(tokenizers.Tokenizer.from_str(text))
    assert isinstance(tokenizer.encoder, _nextlong.Tokenizer)
    texts = chunks()[::5]
    values, _ = tokenizer.encode_texts(texts)
    package = Law(text)
    assert values.tolist() == [id for one in texts for id in package.raw(one)]


def test_a_text_on_which_the_core_fails_is_encoded_by_the_package() -> None:
    """A run of digits makes this pattern step back too often for the core."""
    file = json.loads(zoo_text("bloom"))
    file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"(?:1|1)*(?!1)2(?=3)|\p{L}+"
    text = json.dumps(file)
    package = tokenizers.Tokenizer.from_str(text)
    tokenizer = load(package)
    assert isinstance(tokenizer.encoder, _nextlong.Tokenizer)
    texts = ["one", "1" * 18, "two 1123"]
    with pytest.raises(TokenizerError, match="111"):
        tokenizer.encoder.encode_texts(texts)
    watch = _nextlong.Watch()
    values, offsets = tokenizer.encode_texts(texts, watch)
    expected = [Law(text).ids(one) for one in texts]
    assert values.tolist() == [id for row in expected for id in row]
    assert offsets.tolist()[1:] == [sum(map(len, expected[: n + 1])) for n in range(3)]
    assert watch.done == 3


def test_a_run_says_that_the_package_encodes_and_fails_early_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, output = tmp_path / "tokenizer.json", tmp_path / "out"
    file.write_text(zoo_text("digits prefix space"))
    run: dict[str, Any] = {
        "tokenizer": file,
        "seq_len": 4096,
        "num_sequences": 2,
        "dim": 32,
        "progress": False,
    }
    nl.synthesize(nl.sample_corpus(), output, **run)
    notes = json.loads((output / "work/measured.json").read_text())["notes"]
    assert any("encoded by the tokenizers package" in note for note in notes)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    file.write_text(zoo_text("openai gpt"))
    with pytest.raises(TokenizerError, match="end_of_word_suffix"):
        nl.synthesize(nl.sample_corpus(), tmp_path / "other", **run)
    assert not (tmp_path / "other").exists()
