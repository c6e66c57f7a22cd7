"""How fast documents are cut: MB of UTF-8 a second on one core, beside the rule in plain Python.

`chunk` gives Python strings, `chunk_spans` an array; a run cuts parsed blocks into the chunk store
(Arrow IPC, written to disk), which is timed with its hashes and its file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextlong_rs import _nextlong
from nextlong_rs.chunk import Chunker, chunk, chunk_spans
from nextlong_rs.corpus.blocks import read_blocks
from nextlong_rs.corpus.inputs import resolve
from nextlong_rs.tokenize.load import load

CHINESE = "西班牙的雨主要下在平原上。"
GOAL = 2000.0
"""MB/s."""


def plain_python(text: str, limit: int = 2048) -> list[str]:
    """The authors' rule, transcribed: the peer."""
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


@pytest.mark.parametrize("language", ["corpus", "chinese"])
@pytest.mark.parametrize(
    ("who", "cut"),
    [
        ("plain Python", plain_python),
        ("nextlong_rs paper", lambda text: chunk(text, mode="paper")),
        ("nextlong_rs lossless", chunk),
        ("nextlong_rs lossless spans", chunk_spans),
    ],
)
def test_cut_documents(
    benchmark: Any, report: Any, inputs: Any, language: str, who: str, cut: Callable[[str], Any]
) -> None:
    """The corpus in memory; or 1,000 documents of 20 lines, six Chinese sentences a line."""
    document = (CHINESE * 6 + "\n\n") * 20
    made_up = [f"{number}\n{document}" for number in range(1000)]
    texts = inputs.texts if language == "corpus" else made_up
    size_bytes = sum(len(text.encode()) for text in texts)

    def cut_all() -> None:
        for text in texts:
            cut(text)

    benchmark.pedantic(cut_all, rounds=3, warmup_rounds=1)
    target = GOAL if "spans" in who and language == "corpus" else None
    stage = "chunk" if language == "corpus" else "chunk, Chinese"
    report(stage, who, size_bytes / 1e6, "MB/s", target=target)


def test_cut_into_the_store(benchmark: Any, report: Any, inputs: Any, tmp_path: Path) -> None:
    """What a run does: cut, count characters, hash, write Arrow IPC."""
    parsed = [block.parse() for block in read_blocks(resolve(inputs.corpus))]
    size_bytes = sum(documents.text_bytes for documents in parsed)

    def cut_all() -> None:
        for number, documents in enumerate(parsed):
            path = tmp_path / f"part-{number}.arrow"
            _nextlong.chunk_part(documents, path, mode="lossless", size=2048)

    benchmark.pedantic(cut_all, rounds=3, warmup_rounds=1)
    report("chunk into the store", "nextlong_rs", size_bytes / 1e6, "MB/s")


@pytest.mark.parametrize("name", ["qwen3", "mistral", "bert"])
@pytest.mark.parametrize("who", ["nextlong_rs", "encoding alone"])
def test_cut_by_tokens(benchmark: Any, report: Any, inputs: Any, name: str, who: str) -> None:
    """Chunks of 512 tokens, on one thread, beside the encoding of the same texts whole."""
    file = inputs.shared("tokenizers", name, "tokenizer.json")
    if file is None:
        pytest.skip(f"shared/tokenizers/{name} is not on this machine")
    texts = inputs.texts[::8]
    size_bytes = sum(len(text.encode()) for text in texts)
    tokenizer = load(file)
    chunker = Chunker(512, "tokens", tokenizer)

    def cut_all() -> object:
        return chunker.chunk_all(texts, threads=1)

    def encode_all() -> object:
        return tokenizer.encode_texts(texts)

    benchmark.pedantic(cut_all if who == "nextlong_rs" else encode_all, rounds=3, warmup_rounds=1)
    ratio = None if who == "nextlong_rs" else 0.5
    report(f"chunk by tokens, {name}", who, size_bytes / 1e6, "MB/s", ratio=ratio)
