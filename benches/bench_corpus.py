"""Reading the corpus from Python, against the obvious loop. Unit: MB/s of JSON lines, one thread."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from nextlong_rs import corpus

zstandard = pytest.importorskip("zstandard")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A .jsonl.zst file and its size unpacked; NEXTLONG_CORPUS names another."""
    named = os.environ.get("NEXTLONG_CORPUS")
    path = Path(named) if named else tmp_path_factory.mktemp("corpus") / "a.jsonl.zst"
    if not named:
        rows = ({"id": row, "text": f"Line {row} of “much”.\n" * 60} for row in range(20_000))
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_bytes(zstandard.compress(lines.encode()))
    with zstandard.open(path, "rb") as file:
        return path, sum(iter(lambda: len(file.read(1 << 20)), 0))


def ours(path: Path) -> int:
    blocks = corpus.read_blocks(corpus.resolve(path))
    return sum(block.parse().text_bytes for block in blocks)


def peer(path: Path) -> int:
    with zstandard.open(path, "rb") as file:
        lines = io.TextIOWrapper(file, encoding="utf-8")
        return sum(len(json.loads(line)["text"].encode()) for line in lines)


@pytest.mark.parametrize("reader", [ours, peer])
def test_read_jsonl_zst(benchmark: Any, packed: tuple[Path, int], reader: Any) -> None:
    path, size = packed
    assert benchmark.pedantic(reader, args=(path,), rounds=3, warmup_rounds=1) == peer(path)
    rate = size / 1e6 / benchmark.stats["min"]
    benchmark.extra_info["MB/s"] = rate
    print(f"\n{reader.__name__}: {rate:,.0f} MB/s of JSON lines")
