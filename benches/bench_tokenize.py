"""MB of text a second: chunks through the tokenize room, against the package `tokenizers`.

    pytest benches/bench_tokenize.py --benchmark-group-by=param:name

Both in the same run, one thread, chunks of about 2 KB of the shared corpus (the shipped sample where
it is missing); `RAYON_NUM_THREADS=1` holds the package to one thread.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from nextlong_rs import tokenize

tokenizers = pytest.importorskip("tokenizers")

DATA = Path(tokenize.__file__).parent / "data"
NAMES = ["sample", "qwen3", "gpt2", "deepseek", "mistral", "bert"]


def shared(*parts: str) -> Path | None:
    folders = [parent / "shared" for parent in Path(__file__).resolve().parents]
    return next((f.joinpath(*parts) for f in folders if f.joinpath(*parts).exists()), None)


@cache
def chunks() -> list[str]:
    """About 4 MB of English, code and other languages in pieces of whole lines."""
    corpus = shared("corpus", "corpus_small.jsonl.zst") or DATA / "sample.jsonl.zst"
    found: list[str] = []
    with corpus.open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf8")
        for line in lines:
            pending = ""
            for part in json.loads(line)["text"].splitlines(keepends=True):
                if pending and len(pending) + len(part) > 2048:
                    found.append(pending)
                    pending = ""
                pending += part
            found.append(pending)
    return found


def tokenizer_file(name: str) -> Path:
    file = (
        DATA / "tokenizer.json"
        if name == "sample"
        else shared("tokenizers", name, "tokenizer.json")
    )
    if file is None:
        pytest.skip(f"shared/tokenizers/{name} is not on this machine")
    return file


def report(benchmark: Any, megabytes: float) -> None:
    benchmark.extra_info["MB/s"] = round(megabytes / benchmark.stats.stats.min, 1)
    print(f"\n{benchmark.name}: {benchmark.extra_info['MB/s']} MB/s")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", ["nextlong_rs", "tokenizers"])
def test_encode(benchmark: Any, name: str, who: str) -> None:
    texts = chunks() if who == "nextlong_rs" else chunks()[::8]
    file = tokenizer_file(name)
    if who == "nextlong_rs":
        ours = tokenize.load(file)
        benchmark.pedantic(ours.encode_texts, (texts,), rounds=3, warmup_rounds=1)
    else:
        theirs = tokenizers.Tokenizer.from_file(str(file))
        theirs.no_truncation()
        theirs.no_padding()
        benchmark.pedantic(
            theirs.encode_batch_fast, (texts,), {"add_special_tokens": False}, rounds=2
        )
    report(benchmark, sum(len(text.encode()) for text in texts) / 1e6)
