"""Laws of our tokenizers, on real tokenizers of each kind and real and fuzzed text."""

from __future__ import annotations

import io
import json
import os
import threading
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError, TokenizerError
from nextlong_rs.tokenize.load import load
from nextlong_rs.tokenize.special import SpecialIds
from nextlong_rs.tokenize.tokenizer import Tokenizer

tokenizers = pytest.importorskip(
    "tokenizers", reason="the laws compare with the package tokenizers"
)

NAMES = ["qwen3", "gpt2", "deepseek", "mistral", "bert"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<s>", "</s>", "[SEP]", "[UNK]", "<unk>", "<think>"]
SAMPLE = nl.sample_tokenizer()


def shared(*parts: str) -> Path:
    """A file of the shared folder beside the repository, or skip."""
    here = Path(os.environ.get("NEXTLONG_SHARED", "."))
    folders = [here, *(parent / "shared" for parent in Path(__file__).resolve().parents)]
    for folder in folders:
        if folder.joinpath(*parts).exists():
            return folder.joinpath(*parts)
    pytest.skip(f"shared/{'/'.join(parts)} is not on this machine")


@cache
def ours(name: str) -> Tokenizer:
    return load(SAMPLE if name == "sample" else shared("tokenizers", name))


@cache
def theirs(name: str) -> Any:
    file = SAMPLE if name == "sample" else shared("tokenizers", name, "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def expected(name: str, texts: list[str]) -> list[list[int]]:
    """The ids of the package; with a dummy prefix those behind a newline, without the newline's."""
    before = "\n" if name == "mistral" else ""
    dropped = len(theirs(name).encode(before, add_special_tokens=False).ids)
    rows = theirs(name).encode_batch([before + text for text in texts], add_special_tokens=False)
    return [row.ids[dropped:] for row in rows]


def got(name: str, texts: list[str]) -> list[list[int]]:
    values, offsets = ours(name).encode_texts(texts)
    assert values.dtype == np.uint32
    assert offsets.dtype == np.uint64
    assert (offsets[0], offsets[-1], len(offsets)) == (0, len(values), len(texts) + 1)
    return [row.tolist() for row in np.split(values, offsets[1:-1].astype(np.int64))][: len(texts)]


def cut(text: str, limit: int = 2048) -> Iterator[str]:
    """Whole lines up to `limit` characters; a run of newlines stays with the chunk before it."""
    pending = ""
    for line in text.splitlines(keepends=True):
        if pending and len(pending) + len(line) > limit and line.strip():
            yield pending
            pending = ""
        pending += line
    if pending:
        yield pending


@cache
def documents() -> list[dict[str, Any]]:
    zstandard = pytest.importorskip("zstandard", reason="reads the shared corpus")
    with shared("corpus", "corpus_small.jsonl.zst").open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf8")
        return [json.loads(line) for line in lines]


@cache
def chunks() -> list[str]:
    """A spread of chunks: every twelfth of each source, and all short documents of each language."""
    found = []
    for document in documents():
        pieces = list(cut(document["text"]))
        found += pieces[:: 12 if len(pieces) > 12 else 3]
    return found


odd_text = st.lists(
    st.one_of(
        st.text(alphabet=st.characters(exclude_categories=["Cs", "Cn"]), max_size=12),
        st.text(alphabet="ab \n\r\t'/.1\u3000\u2581", max_size=12),
        st.text(
            alphabet=st.characters(categories=["Mn", "Cc", "Cf", "So", "Zs", "Ll"]), max_size=8
        ),
        st.sampled_from(
            [
                *SPECIAL,
                "\r\n",
                "\x00",
                "e\u0301",
                "👩‍👩‍👧‍👦",
                "🇩🇪",
                "中文字",
                "العربية",
                "हिन्दी",
                "\n\n\n",
                "  ",
                "don't",
                "x\u0327\u0301",
                "\u1100\u1161",
                "\ufeff",
                "\u200b",
                "12345",
                "foo_bar()",
                "//",
                "ﬁ",
            ]
        ),
    ),
    max_size=12,
).map("".join)


@cache
def newer_than_the_package() -> frozenset[str]:
    """Characters that the package normalises by older tables of Unicode than Python or we have."""
    forms: list[tuple[Literal["NFC", "NFKD"], Any]] = [
        ("NFC", tokenizers.normalizers.NFC()),
        ("NFKD", tokenizers.normalizers.NFKD()),
    ]

    def differs(character: str) -> bool:
        # Marks on both sides tell where it stands in the canonical order.
        texts = (f"\u0300{character}", f"{character}\u0334")
        return any(
            package.normalize_str(text) != unicodedata.normalize(form, text)
            for form, package in forms
            for text in texts
        )

    marks = (chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    return frozenset(
        one
        for one in marks
        if (unicodedata.combining(one) or unicodedata.decomposition(one)) and differs(one)
    )


def like_the_package(text: str) -> bool:
    """Whether the text avoids the characters that the two encoders are known to treat apart."""
    return newer_than_the_package().isdisjoint(text) and {"\u017f", "\u061d"}.isdisjoint(text)


def test_the_package_has_older_tables_of_marks() -> None:
    assert "\U00010f83" in newer_than_the_package()
    assert len(newer_than_the_package()) < 500


@pytest.mark.parametrize("name", [*NAMES, "sample"])
def test_the_ids_of_real_chunks_are_those_of_the_package(name: str) -> None:
    texts = chunks()
    assert len(texts) > 500
    assert got(name, texts) == expected(name, texts)


@pytest.mark.parametrize("name", [*NAMES, "sample"])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=odd_text)
def test_the_ids_of_odd_text_are_those_of_the_package(name: str, text: str) -> None:
    if like_the_package(text):
        assert got(name, [text]) == expected(name, [text])


@cache
def package_with_its_defaults(name: str) -> Any:
    return tokenizers.Tokenizer.from_str(theirs(name).to_str())


@pytest.mark.parametrize("name", [*NAMES, "sample"])
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=odd_text)
def test_plain_ids_are_the_package_s_with_its_defaults(name: str, text: str) -> None:
    if like_the_package(text):
        plain = package_with_its_defaults(name).encode(text, add_special_tokens=False).ids
        assert ours(name).encode_plain(text).tolist() == plain


def test_special_token_strings_are_text_in_chunks_and_tokens_in_plain_ids() -> None:
    for name, token in (("qwen3", "<|im_end|>"), ("mistral", "</s>"), ("bert", "[SEP]")):
        id = ours(name).token_to_id(token)
        assert id not in ours(name).encode(f"a {token} b")
        assert id in ours(name).encode_plain(f"a {token} b")


def normal(name: str, text: str) -> str:
    normalizer = theirs(name).normalizer
    return text if normalizer is None else str(normalizer.normalize_str(text))


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "deepseek", "mistral", "sample"])
def test_a_decoded_sequence_is_the_text_of_its_chunks_and_separators(name: str) -> None:
    tokenizer = ours(name)
    for separator in ("\n", "\n\n", " ", "---"):
        middle = tokenizer.separator_ids(separator)
        texts = chunks()[::40]
        rows = [np.array(row, dtype=np.uint32) for row in got(name, texts)]
        ids = np.concatenate([part for row in rows for part in (row, middle)])
        text = "".join(normal(name, text) + separator for text in texts)
        assert tokenizer.decode(ids) == text


def test_a_decoded_sequence_of_bert_holds_the_words_of_its_chunks() -> None:
    texts = chunks()[::40]
    words = theirs("bert").encode(" ".join(texts), add_special_tokens=False).ids
    assert [id for row in got("bert", texts) for id in row] == words


@pytest.mark.parametrize("name", [*NAMES, "sample"])
def test_chunks_put_together_again_give_the_ids_of_the_document_at_safe_borders(name: str) -> None:
    safe = borders = 0
    for document in documents()[:: 9 if name != "mistral" else 20]:
        text = document["text"][:60_000]
        pieces = list(cut(text))
        groups = pieces[:1]
        for piece in pieces[1:]:
            borders += 1
            if ours(name).is_safe_border(groups[-1], piece):
                safe += 1
                groups.append(piece)
            else:
                groups[-1] += piece
        together = [id for row in got(name, groups) for id in row]
        assert together == expected(name, [text])[0]
    assert safe > (0.2 if name == "gpt2" else 0.9) * borders > 0


@pytest.mark.parametrize("name", ["qwen3", "mistral", "gpt2"])
def test_the_ids_do_not_depend_on_threads_or_order(name: str) -> None:
    texts = chunks()[:400]
    alone = got(name, texts)
    batches = [range(start, min(start + 37, 400)) for start in range(0, 400, 37)]
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda rows: got(name, [texts[row] for row in reversed(rows)]), batches)
        assert [row for part in parts for row in reversed(part)] == alone


@pytest.mark.parametrize("name", [*NAMES, "sample"])
def test_empty_text_has_no_ids_and_nul_is_text(name: str) -> None:
    assert got(name, ["", "\0", "", "a\0b"]) == expected(name, ["", "\0", "", "a\0b"])
    assert got(name, [""]) == [[]]
    assert len(ours(name).encode_texts([])[0]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_long_line_is_encoded_in_bounded_time(name: str) -> None:
    line = "the quick brown fox jumps over the lazy dog, and so on; " * 60_000
    start = time.perf_counter()
    ids = ours(name).encode(line)
    assert time.perf_counter() - start < 30
    short = line[:56_000]
    again = ours(name).encode(short)
    assert ids[: len(again) - 5].tolist() == again[:-5].tolist()
    for character in ("a", "中", " ", "\n", "é", "-"):
        start = time.perf_counter()
        text = character * (10_000_000 // len(character.encode()))
        ids = ours(name).encode(text)
        assert time.perf_counter() - start < 30
        if name not in ("bert", "qwen3"):
            assert ours(name).decode(ids) == text


def test_special_ids_are_found_named_and_refused() -> None:
    def ids(name: str, **wanted: str | int | None) -> tuple[int | None, int | None]:
        found = ours(name).special_ids(**wanted)
        return found.bos, found.eos

    assert ids("sample") == (0, 1)
    assert ids("qwen3") == (None, 151643)
    assert ids("gpt2") == (None, 50256)
    assert ids("mistral") == (1, 2)
    assert ids("deepseek") == (0, 1)
    assert ids("bert") == (None, None)
    assert ids("mistral", bos=None, eos="<s>") == (None, 1)
    assert ids("mistral", bos=7, eos=None) == (7, None)
    with pytest.raises(ConfigError, match=r"did you mean '<\|endoftext\|>'"):
        ids("qwen3", eos="<|endoftxt|>")
    with pytest.raises(ConfigError, match="below"):
        ids("qwen3", eos=10_000_000)


def test_a_separator_is_text_or_a_token_and_never_the_end() -> None:
    tokenizer = ours("mistral")
    assert tokenizer.separator_ids("\n").tolist() == [13]
    assert tokenizer.separator_ids({"token": "<unk>"}, eos=2).tolist() == [0]
    assert tokenizer.separator_ids(None).tolist() == []
    for wrong in ({"token": "</s>"}, "a</s>"):
        with pytest.raises(ConfigError, match="EOS"):
            tokenizer.separator_ids(wrong, eos=2)
    with pytest.raises(ConfigError, match="chunk_separator"):
        tokenizer.separator_ids({"token": "<sep>"})


def test_the_config_beside_the_file_names_bos_and_eos(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(SAMPLE.read_bytes())
    config = {"bos_token": None, "eos_token": {"content": "<|bos|>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = load(tmp_path).special_ids()
    assert (found.bos, found.eos) == (None, 0)


def test_truncation_padding_and_a_post_processor_never_touch_a_chunk() -> None:
    package = tokenizers.Tokenizer.from_file(str(SAMPLE))
    package.enable_truncation(64)
    package.enable_padding(length=64)
    package.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|bos|> $A <|endoftext|>",
        special_tokens=[("<|bos|>", 0), ("<|endoftext|>", 1)],
    )
    tokenizer = load(package)
    text = "a chunk " * 300
    assert tokenizer.encode(text).tolist() == ours("sample").encode(text).tolist()
    assert any("truncation" in note for note in tokenizer.notes)


def test_a_prefix_space_is_left_out_of_chunks_and_kept_in_plain_ids() -> None:
    package = tokenizers.Tokenizer.from_file(str(SAMPLE))
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    package.pre_tokenizer = byte_level
    tokenizer = load(package)
    assert isinstance(tokenizer.encoder, _nextlong.Tokenizer)
    assert tokenizer.encode_plain("word").tolist() == package.encode("word").ids
    package.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert tokenizer.encode("word one").tolist() == package.encode("word one").ids


def exotic() -> Any:
    """A tokenizer that the core refuses: byte-level pieces, each with a space before it."""
    package = tokenizers.Tokenizer.from_file(str(SAMPLE))
    package.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.WhitespaceSplit(),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True),
        ]
    )
    return package


def test_what_the_core_refuses_is_encoded_by_the_given_object(tmp_path: Path) -> None:
    package = exotic()
    tokenizer = load(package)
    assert not tokenizer.threads_allowed
    texts = ["two words", "", "<|endoftext|> is text", "\nnext"]
    values, offsets = tokenizer.encode_texts(texts)
    package.encode_special_tokens = True
    rows = [package.encode(text, add_special_tokens=False).ids for text in texts]
    assert values.tolist() == [id for row in rows for id in row]
    assert offsets.tolist() == np.cumsum([0, *map(len, rows)]).tolist()
    assert tokenizer.count("two words") == len(rows[0])
    assert tokenizer.special_ids() == SpecialIds(bos=0, eos=1)
    package.save(str(tmp_path / "tokenizer.json"))
    assert load(tmp_path).encode("two words").tolist() == rows[0]


def test_the_fallback_keeps_the_rules_of_the_core() -> None:
    from nextlong_rs.tokenize.python import PythonEncoder

    texts = chunks()[::60]
    for name in ("mistral", "qwen3", "bert"):
        encoder = PythonEncoder.of_tokenizers(theirs(name), "a test")
        core = ours(name)
        assert encoder.encode_texts(texts)[0].tolist() == core.encode_texts(texts)[0].tolist()
        assert (encoder.kind, encoder.vocab_size) == (core.kind, core.vocab_size)
        assert encoder.is_safe_border("a\n", "b") == core.is_safe_border("a\n", "b")
        row = core.encode(" a text")
        assert encoder.decode(row) == core.decode(row)


def test_hugging_face_objects_bring_their_special_tokens() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(SAMPLE), eos_token="<|endoftext|>"
    )
    tokenizer = load(fast)
    assert isinstance(tokenizer.encoder, _nextlong.Tokenizer)
    assert tokenizer.special_ids().eos == 1
    assert tokenizer.encode("one two").tolist() == ours("sample").encode("one two").tolist()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": {"type": "BPE"}}', "\udc80"])
def test_a_file_that_is_no_tokenizer_ends_in_a_clear_error(content: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content.encode("utf8", "surrogateescape"))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        load(file)
    with pytest.raises(TokenizerError):
        load(tmp_path / "missing")
    with pytest.raises(TokenizerError, match="int"):
        load(3)


def test_other_threads_run_while_chunks_are_encoded() -> None:
    # What is missing skips the test here, not while the thread waits.
    tokenizer, texts = ours("bert"), chunks() * 3
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.002):
            ticks += 1

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    start = time.perf_counter()
    tokenizer.encode_texts(texts)
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    assert ticks > seconds / 0.02


def test_a_cancelled_call_stops() -> None:
    watch = _nextlong.Watch()
    watch.cancel()
    with pytest.raises(KeyboardInterrupt):
        ours("sample").encode_texts(["a"], watch)
