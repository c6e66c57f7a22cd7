"""Which characters of a chunk its first tokens cover, in every script and with every kind of tokenizer.

The oracle is written over the `tokenizers` package: the normal form of each prefix, and the offsets of
the tokens in the normal form of the whole.
"""

from __future__ import annotations

import json
import os
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.tokenize.load import load
from nextlong_rs.tokenize.python import PythonEncoder
from nextlong_rs.tokenize.tokenizer import Tokenizer

NEGATIVE = 1
REAL = ["qwen3", "gpt2", "deepseek", "mistral", "bert"]
LETTERS = "abcdefghijklmnopqrstuvwxyzABC"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

pieces = st.sampled_from(
    [
        *("the tide ", "Tables:\n", " and\ttabs", "\n\n", "  ", "don't", "12345", "x = foo(1);\n"),
        *("👩\u200d👩\u200d👧", "👩🏽\u200d🚀", "🇩🇪", "🌊🌊", "❤\ufe0f", "𝔘", "𠮷"),
        *(
            "हिन्दी में ",
            "क्षत्रिय",
            "ภาษาไทย",
            "สวัสดีครับ",
            "中文分词",
            "，西班牙的雨。",
            "かな",
            "か\u3099な",
        ),
        *("العربية ", "مُحَمَّد", "עִבְרִית", "한국어", "\u1112\u1161\u11ab", "русский ", "Ñandú"),
        *(
            "e\u0301t\u00e9 ",
            "o\u0302\u0323",
            "a\u0316\u0301",
            "\u1ebf",
            "\ufb01ne",
            "Ⅷ",
            "½",
            "ＡＢ",
        ),
        *(
            "\u200b",
            "\u00ad",
            "\ufeff",
            "\x00",
            "\x07",
            "\u2028",
            "\u00a0",
            "\u3000",
            "\ufffd",
            "\u2581",
        ),
    ]
)
texts = st.lists(pieces, min_size=1, max_size=14).map("".join)
nfd_texts = texts.map(lambda text: unicodedata.normalize("NFD", text))


def real_file(name: str) -> Path:
    if name == "sample":
        return Path(str(nl.sample_tokenizer()))
    folders = [Path(os.environ.get("NEXTLONG_SHARED", "."))]
    folders += [parent / "shared" for parent in Path(__file__).resolve().parents]
    for folder in folders:
        if (file := folder / "tokenizers" / name / "tokenizer.json").exists():
            return file
    pytest.skip(f"the tokenizer {name} (shared/tokenizers) is not on this machine")


def of_words(normalizer: Any) -> tokenizers.Tokenizer:
    tokens = ["[UNK]", "the", "tide", "ta", "##b", "##les", "e", "##t", "##e", "中", "fi", "##ne"]
    tokens += [*LETTERS, *(f"##{letter}" for letter in LETTERS), ":", "हि", "##न्दी"]
    vocabulary = {token: id for id, token in enumerate(dict.fromkeys(tokens))}
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def of_bytes(
    normalizer: Any, *, falls_back: bool = True, fuses: bool = True
) -> tokenizers.Tokenizer:
    tokens = ["<unk>", *BYTES, "▁", *LETTERS, "th", "e\u0301", "中", "文", "か", "は", "\n", "हि"]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    for token in ("\u0301", "\u0316", "हि"[0], "हि"[1]):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [("t", "h"), ("e", "\u0301"), ("हि"[0], "हि"[1])]
    model = models.BPE(
        vocabulary, merges, unk_token="<unk>", fuse_unk=fuses, byte_fallback=falls_back
    )
    made = tokenizers.Tokenizer(model)
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return made


def of_pieces(normalizer: Any) -> tokenizers.Tokenizer:
    scores = [("<unk>", 0.0), ("▁", -3.0), *((letter, -4.0) for letter in LETTERS)]
    scores += [
        ("th", -5.0),
        ("▁the", -4.5),
        ("ide", -5.0),
        ("中文", -5.0),
        ("न्दी", -5.0),
        ("か", -4.0),
    ]
    made = tokenizers.Tokenizer(models.Unigram(scores, unk_id=0))
    made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    return made


def of_byte_level(normalizer: Any) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_file(str(real_file("sample")))
    made.normalizer = normalizer
    return made


MADE: dict[str, Any] = {
    "words, BERT": lambda: of_words(normalizers.BertNormalizer()),
    "words, accents kept": lambda: of_words(
        normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    ),
    "bytes, NFD": lambda: of_bytes(normalizers.NFD()),
    "bytes, NFKC": lambda: of_bytes(normalizers.NFKC()),
    "bytes, lower case": lambda: of_bytes(normalizers.Lowercase()),
    "unknown fused": lambda: of_bytes(None, falls_back=False),
    "unknown one by one": lambda: of_bytes(None, falls_back=False, fuses=False),
    "pieces, NFKC": lambda: of_pieces(normalizers.NFKC()),
    "pieces, Nmt": lambda: of_pieces(normalizers.Nmt()),
    "byte level, NFC": lambda: of_byte_level(normalizers.NFC()),
    "byte level, NFD": lambda: of_byte_level(normalizers.NFD()),
    "byte level, NFKD": lambda: of_byte_level(normalizers.NFKD()),
    "byte level, replaced": lambda: of_byte_level(normalizers.Replace("the", "a")),
}


@cache
def package(name: str) -> tokenizers.Tokenizer:
    made = MADE[name]() if name in MADE else tokenizers.Tokenizer.from_file(str(real_file(name)))
    made.no_truncation()
    made.no_padding()
    made.encode_special_tokens = True
    return made


@cache
def without_normalizer(name: str) -> tokenizers.Tokenizer:
    settings = {**json.loads(package(name).to_str()), "normalizer": None, "post_processor": None}
    made = tokenizers.Tokenizer.from_str(json.dumps(settings))
    made.encode_special_tokens = True
    return made


@cache
def ours(name: str) -> Tokenizer:
    return load(MADE[name]() if name in MADE else real_file(name))


def normal(name: str, text: str) -> str:
    normalizer = package(name).normalizer
    return text if normalizer is None else str(normalizer.normalize_str(text))


def by_the_package(name: str, text: str) -> tuple[list[int], list[int]]:
    """The ids of a text, and what the first 0, 1, 2 … of them cover."""
    before = "\n" if name == "mistral" else ""
    encoded = without_normalizer(name).encode(normal(name, before + text), add_special_tokens=False)
    dropped = len(package(name).encode(before, add_special_tokens=False).ids)
    forms = [normal(name, before + text[:end]) for end in range(len(text) + 1)]
    clean = [end for end, form in enumerate(forms) if forms[-1].startswith(form)]
    spans = encoded.offsets[dropped:]
    covered = [0]
    for kept in range(1, len(spans)):
        last = max(end for _, end in spans[:kept])
        following = min(start for start, _ in spans[kept:])
        best = max((end for end in clean if len(forms[end]) <= following), default=0)
        while best > 0 and text[best - 1].isspace() and len(forms[best - 1]) >= last:
            best -= 1
        covered.append(best)
    return encoded.ids[dropped:], [*covered, len(text)] if spans else covered


def covered_by(tokenizer: Tokenizer, text: str, ids: list[int]) -> list[int]:
    """What the first 0, 1, 2 … ids cover, in one call."""
    counts = range(len(ids) + 1)
    values = np.array([id for count in counts for id in ids[:count]], dtype=np.uint32)
    offsets = np.cumsum([0, *counts]).astype(np.uint64)
    return [int(one) for one in tokenizer.characters_of([text] * len(counts), (values, offsets))]


def agrees(name: str, text: str) -> None:
    ids, expected = by_the_package(name, text)
    assert ours(name).encode(text).tolist() == ids
    assert covered_by(ours(name), text, ids) == expected, repr(text)


@pytest.mark.parametrize("name", [*REAL, "sample", *MADE])
@given(text=st.one_of(texts, nfd_texts))
@settings(max_examples=120)
def test_the_kept_tokens_cover_the_longest_prefix_that_they_spell(name: str, text: str) -> None:
    agrees(name, text)


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "deepseek", "sample", "byte level, NFD"])
@given(text=texts)
def test_what_is_covered_is_what_the_kept_tokens_decode_to(name: str, text: str) -> None:
    tokenizer = ours(name)
    ids = tokenizer.encode(text)
    whole = normal(name, text)
    for kept, covered in enumerate(covered_by(tokenizer, text, ids.tolist())):
        decoded = tokenizer.decode(ids[:kept])
        form = normal(name, text[:covered])
        assert decoded.startswith(form)
        # What is left is the beginning of one character or cluster.
        following = normal(name, text[: covered + 1])
        assert not (whole.startswith(following) and decoded.startswith(following)) or (
            covered == len(text)
        )


@pytest.mark.parametrize("name", ["bert", "mistral", "sample", "words, BERT", "bytes, NFD"])
@given(text=texts)
def test_a_python_encoder_finds_the_same_characters(name: str, text: str) -> None:
    encoder = PythonEncoder.of_tokenizers(package(name), "a test")
    slow = Tokenizer(encoder, name="slow", declared={})
    ids, expected = by_the_package(name, text)
    found = covered_by(slow, text, ids)
    for end, got in zip(expected, found, strict=True):
        # The offsets of the package give what is left out to no token, so a mark may go with either.
        between = text[min(end, got) : max(end, got)]
        assert all(unicodedata.category(one)[0] in "MC" for one in between), (text, end, got)


class Slow:
    """As a slow transformers tokenizer: it encodes one text and knows no offsets."""

    def __init__(self, name: str) -> None:
        self.package = package(name)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": self.package.encode(text, add_special_tokens=False).ids}

    def get_vocab(self) -> dict[str, int]:
        return dict(self.package.get_vocab())

    def convert_tokens_to_ids(self, token: str) -> int | None:
        id: int | None = self.package.token_to_id(token)
        return id

    def decode(self, ids: list[int], **_: Any) -> str:
        return str(self.package.decode(ids, skip_special_tokens=False))


def test_a_tokenizer_without_offsets_is_followed_by_its_prefixes() -> None:
    slow = load(Slow("words, BERT"))
    assert not isinstance(slow.encoder, _nextlong.Tokenizer)
    text = "the tables: the tide"
    ids, expected = by_the_package("words, BERT", text)
    assert [text[:end] for end in expected[1:3]] == ["the", "the ta"]
    found = covered_by(slow, text, ids)
    assert found[0] == 0
    assert found[-1] == len(text)
    for end, got in zip(expected, found, strict=True):
        assert got <= end
        assert slow.count(text[:got]) <= slow.count(text[:end])


def test_ids_of_another_text_are_refused() -> None:
    with pytest.raises(nl.TokenizerError, match="first ids"):
        covered_by(ours("sample"), "one text", ours("sample").encode("another").tolist())


def test_the_span_of_a_cut_negative_is_what_its_tokens_spell(tmp_path: Path) -> None:
    documents = [
        {
            "id": str(n),
            "text": "".join(f"नमस्ते {n}, 中文 {m}: e\u0301t\u00e9 🌊.\n" for m in range(30)),
        }
        for n in range(80)
    ]
    texts_by_id = {str(document["id"]): str(document["text"]) for document in documents}
    tokenizer = load(real_file("sample"))
    result = nl.synthesize(
        documents,
        output=tmp_path / "out",
        tokenizer=real_file("sample"),
        seq_len=3001,
        chunk_size=300,
        num_sequences=12,
        max_score=None,
        max_containment=None,
    )
    cut = 0
    for row in result:
        ids = np.asarray(row["input_ids"])
        stops = [*row["span_token_start"][1:], len(ids)]
        for at, stop in enumerate(stops):
            if row["span_role"][at] != NEGATIVE:
                continue
            whole = texts_by_id[row["span_doc_id"][at]]
            start, end = row["span_char_start"][at], row["span_char_end"][at]
            held = ids[row["span_token_start"][at] : stop]
            if tokenizer.encode(whole[start:end]).tolist() != held.tolist():
                cut += 1
                decoded = tokenizer.decode(held)
                assert decoded.startswith(whole[start:end])
                assert not decoded.startswith(whole[start : end + 1])
    assert cut > 0
