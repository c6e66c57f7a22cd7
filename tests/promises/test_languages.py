"""Texts in many scripts through the whole run: Arabic, Chinese, Hindi, Thai and others, mixed."""

from __future__ import annotations

import io
import json
import unicodedata
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

import nextlong_rs as nl

tokenizers = pytest.importorskip("tokenizers", reason="decodes what was written")

SCRIPTS = ["ar", "zh", "hi", "th", "ru", "el", "vi", "en"]
CHUNK = 512


@pytest.fixture(scope="module")
def documents(shared: Path) -> dict[str, str]:
    """The paragraphs of one encyclopedia in eight languages, and more Chinese."""
    found = {}
    path = shared / "corpus" / "corpus_medium.jsonl.zst"
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        for line in io.TextIOWrapper(reader, encoding="utf-8"):
            row = json.loads(line)
            if row.get("lang") in SCRIPTS:
                found[row["id"]] = row["text"]
    assert len(found) > 8 * 48
    return found


def language(doc_id: str) -> str:
    source, name, _ = doc_id.split("/", 2)
    return "zh" if source == "cmrc" else name


@pytest.mark.parametrize("name", ["qwen3", "mistral"])
def test_every_script_is_whole_and_finds_its_own(
    name: str, documents: dict[str, str], shared: Path, tmp_path: Path
) -> None:
    path = shared / "tokenizers" / name / "tokenizer.json"
    made = nl.synthesize(
        ({"id": doc_id, "text": text} for doc_id, text in documents.items()),
        tmp_path / "out",
        tokenizer=path,
        seq_len=16_384,
        num_sequences=80,
        chunk_size=CHUNK,
        seed=5,
        progress=False,
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    own: Counter[str] = Counter()
    negatives: Counter[str] = Counter()
    for row in pq.read_table(made.files[0]).to_pylist():
        assert len(row["input_ids"]) == 16_384
        mine = language(row["meta_doc_id"])
        spans = list(zip(*(row[f"span_{name}"] for name in FIELDS), strict=True))
        ends = [start for start, *_ in spans[1:]] + [row["length"]]
        for (start, doc_id, first, last, role), end in zip(spans, ends, strict=True):
            if role == 2:
                continue
            # The normal form of most tokenizers takes some letters of Hindi apart.
            text = unicodedata.normalize("NFC", documents[doc_id][first:last])
            decoded = tokenizer.decode(row["input_ids"][start:end], skip_special_tokens=False)
            decoded = unicodedata.normalize("NFC", decoded)
            assert decoded.strip().rstrip("\ufffd").strip() in text
            assert len(decoded.strip()) >= len(text.strip()) - 3
            if role == 1:
                negatives[mine] += 1
                own[mine] += language(doc_id) == mine
    assert set(negatives) == set(SCRIPTS)
    # Not all: there are fewer chunks of one language than its sequences ask for.
    for script in SCRIPTS:
        assert own[script] / negatives[script] > 0.3, script
    assert made.manifest["summary"]["retrieval"]["recall"] >= 0.95


FIELDS = ["token_start", "doc_id", "char_start", "char_end", "role"]
