"""MB of text a second: chunks through our tokenizer, against the package `tokenizers`.

    pytest benches/bench_tokenize.py --benchmark-group-by=param:name

All in the same run, one thread, chunks of about 2 KB of the shared corpus (the shipped sample where
it is missing); `RAYON_NUM_THREADS=1` holds the package to one thread. The release candidate of the
package's next version is measured beside it where a copy lies in `NEXTLONG_TOKENIZERS_RC`.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import io
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import zstandard

import nextlong_rs as nl
from nextlong_rs.tokenize.load import load

tokenizers = pytest.importorskip("tokenizers")

NAMES = ["sample", "qwen3", "gpt2", "deepseek", "mistral", "bert"]


def shared(*parts: str) -> Path | None:
    folders = [parent / "shared" for parent in Path(__file__).resolve().parents]
    return next((f.joinpath(*parts) for f in folders if f.joinpath(*parts).exists()), None)


@cache
def chunks() -> list[str]:
    """Every fourth document of the corpus, 26 MB, in pieces of whole lines, shuffled."""
    medium = shared("corpus", "corpus_medium.jsonl.zst")
    corpus, step = (medium, 4) if medium else (nl.sample_corpus(), 1)
    found: list[str] = []
    with corpus.open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf8")
        for line in itertools.islice(lines, 0, None, step):
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
        nl.sample_tokenizer() if name == "sample" else shared("tokenizers", name, "tokenizer.json")
    )
    if file is None:
        pytest.skip(f"shared/tokenizers/{name} is not on this machine")
    return file


CANDIDATE = """
import json, sys, time
from tokenizers import Tokenizer
file, *quarters = json.load(sys.stdin)
model = Tokenizer.from_file(file)
seconds = []
for texts in quarters:
    begun = time.process_time()
    model.encode_batch(texts, add_special_tokens=False, padding=None, truncation=None)
    seconds.append(time.process_time() - begun)
print(sum(seconds[1:]))
"""


def release_candidate(folder: str, file: Path, quarters: list[list[str]]) -> float:
    """CPU seconds of the release candidate in a process of its own, on all quarters but the first."""
    run = subprocess.run(
        [sys.executable, "-c", CANDIDATE],
        input=json.dumps([str(file), *quarters]),
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", ["nextlong_rs", "tokenizers", "tokenizers rc"])
def test_encode(benchmark: Any, report: Any, name: str, who: str) -> None:
    """Warmed on one quarter of the chunks, timed on the others, each of them once: memories of
    words must not be helped by a text seen before."""
    quarters = [chunks()[start::4] for start in range(4)]
    file = tokenizer_file(name)
    if who == "tokenizers":
        quarters = [quarter[::32] for quarter in quarters]
    megabytes = sum(len(text.encode()) for quarter in quarters[1:] for text in quarter) / 1e6
    stage = f"tokenize, {name}"
    if who == "tokenizers rc":
        folder = os.environ.get("NEXTLONG_TOKENIZERS_RC")
        if not folder:
            pytest.skip("NEXTLONG_TOKENIZERS_RC names no folder")
        seconds = benchmark.pedantic(release_candidate, (folder, file, quarters), rounds=1)
        report(stage, "tokenizers 1.0 rc", megabytes, "MB/s", seconds=seconds)
        return
    encode: Callable[[list[str]], object]
    if who == "nextlong_rs":
        ours = load(file)

        def encode(texts: list[str]) -> object:
            return ours.encode_texts(texts)

    else:
        theirs = tokenizers.Tokenizer.from_file(str(file))
        theirs.no_truncation()
        theirs.no_padding()

        encode = partial(theirs.encode_batch_fast, add_special_tokens=False)

    encode(quarters[0])
    unseen = iter(quarters[1:])
    benchmark.pedantic(encode, setup=lambda: ((next(unseen),), {}), rounds=3)
    target = 60.0 if who == "nextlong_rs" and name == "mistral" else None
    seconds = benchmark.stats.stats.total
    report(stage, who, megabytes, "MB/s", seconds=seconds, target=target)
