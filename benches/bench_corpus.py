"""Reading the corpus from Python, against the obvious loop. Unit: MB/s of JSON lines, one thread.

`zstd alone` only unpacks: what no reader can pass.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from nextlong_rs.corpus.blocks import read_blocks
from nextlong_rs.corpus.inputs import resolve

zstandard = pytest.importorskip("zstandard")


def ours(path: Path) -> int:
    blocks = read_blocks(resolve(path))
    return sum(block.parse().text_bytes for block in blocks)


def peer(path: Path) -> int:
    with zstandard.open(path, "rb") as file:
        lines = io.TextIOWrapper(file, encoding="utf-8")
        return sum(len(json.loads(line)["text"].encode()) for line in lines)


def unpack(path: Path) -> int:
    """The bytes unpacked."""
    with zstandard.open(path, "rb") as file:
        return sum(iter(lambda: len(file.read(1 << 20)), 0))


@pytest.mark.parametrize(
    ("who", "reader", "ratio"),
    [
        ("nextlong_rs", ours, None),
        ("zstandard and json", peer, None),
        ("zstd alone", unpack, 0.8),
    ],
)
def test_read_jsonl_zst(
    benchmark: Any, report: Any, inputs: Any, who: str, reader: Any, ratio: float | None
) -> None:
    read = benchmark.pedantic(reader, args=(inputs.corpus,), rounds=3, warmup_rounds=1)
    size = unpack(inputs.corpus)
    assert read == (size if reader is unpack else peer(inputs.corpus))
    report("read JSONL.zst", who, size / 1e6, "MB/s", ratio=ratio)
