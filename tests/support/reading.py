"""Reads and writes inputs for the tests of the corpus."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nextlong_rs.corpus.blocks import CorpusConfig, read_blocks
from nextlong_rs.corpus.inputs import resolve

zstandard = pytest.importorskip("zstandard")

Row = tuple[str, str]


def read(
    inputs: object, *, block_bytes: int = 1 << 20, **config: Any
) -> tuple[list[Row], list[Any]]:
    """The documents (id, text) and the quarantine of some inputs."""
    rows: list[Row] = []
    bad: list[Any] = []
    listing = resolve(inputs)
    for block in read_blocks(listing, CorpusConfig(**config), block_bytes=block_bytes):
        documents = block.parse()
        texts = documents.texts()
        rows += [(documents.origin(row)[0], texts[row]) for row in range(len(documents))]
        bad += [json.loads(line) for line in documents.quarantine().splitlines()]
        assert documents.bad_count == sum(documents.bad_counts().values())
    return rows, bad


def reasons(bad: list[Any]) -> list[tuple[int, str]]:
    return [(entry["row"], entry["reason"]) for entry in bad]


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def packed(kind: str, data: bytes) -> bytes:
    """`data` in two gzip members or Zstandard frames."""
    half = len(data) // 2
    if kind == "gz":
        return gzip.compress(data[:half]) + gzip.compress(data[half:])
    if kind == "zst":
        return bytes(zstandard.compress(data[:half]) + zstandard.compress(data[half:]))
    return data
