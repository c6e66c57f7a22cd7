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
import random
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
    """5.6 MB of English, code and other languages in pieces of whole lines, shuffled."""
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
    random.Random(0).shuffle(found)
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", ["nextlong_rs", "tokenizers"])
def test_encode(benchmark: Any, name: str, who: str) -> None:
    """Warmed on one quarter of the chunks, timed on the others, each of them once: memories of
    words must not be helped by a text seen before."""
    quarters = [chunks()[start::4] for start in range(4)]
    file = tokenizer_file(name)
    if who == "nextlong_rs":
        ours = tokenize.load(file)

        def encode(texts: list[str]) -> object:
            return ours.encode_texts(texts)

    else:
        quarters = [quarter[::8] for quarter in quarters]
        theirs = tokenizers.Tokenizer.from_file(str(file))
        theirs.no_truncation()
        theirs.no_padding()

        def encode(texts: list[str]) -> object:
            return theirs.encode_batch_fast(texts, add_special_tokens=False)

    encode(quarters[0])
    unseen = iter(quarters[1:])
    benchmark.pedantic(encode, setup=lambda: ((next(unseen),), {}), rounds=3)
    megabytes = sum(len(text.encode()) for quarter in quarters[1:] for text in quarter) / 1e6
    benchmark.extra_info["MB/s"] = round(megabytes / benchmark.stats.stats.total, 1)
    print(f"\n{benchmark.name}: {benchmark.extra_info['MB/s']} MB/s of unseen text")
