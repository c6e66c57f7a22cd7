"""Writing Parquet, against pyarrow with the same encodings. Unit: MB/s of 4-byte token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlong_rs import _nextlong

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

LENGTH, ROWS, SPANS = 131_072, 256, 290


@pytest.fixture(scope="module")
def ids() -> Any:
    """Ids that fall off as those of text do."""
    rng = np.random.default_rng(0)
    return np.minimum(rng.zipf(1.2, LENGTH * ROWS), 151_000).astype(np.uint32)


def ours(path: Path, sequences: _nextlong.Sequences, table: Any) -> int:
    return _nextlong.write_parquet(path, sequences, "{}")[1]


def peer(path: Path, sequences: _nextlong.Sequences, table: Any) -> int:
    rest = [name for name in table.column_names if name != "input_ids"]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=3,
        use_dictionary=rest,
        column_encoding={"input_ids.list.element": "BYTE_STREAM_SPLIT"},
        row_group_size=128,
        write_statistics=rest,
    )
    return path.stat().st_size


@pytest.mark.parametrize(
    ("who", "writer", "ratio"), [("nextlong_rs", ours, None), ("pyarrow", peer, 0.9)]
)
def test_write_parquet(
    benchmark: Any,
    report: Any,
    tmp_path: Path,
    ids: Any,
    who: str,
    writer: Any,
    ratio: float | None,
) -> None:
    count = ROWS * SPANS
    starts = np.tile(np.arange(SPANS, dtype=np.int32) * 450, ROWS)
    document = np.arange(count, dtype=np.int64) % 5000
    zeros, ones = np.zeros(count, np.int32), np.ones(count, np.int64)
    doc_ids = [f"document-{number}" for number in range(5000)]
    sequences = _nextlong.Sequences.from_arrays(
        "nextlong",
        ids,
        np.arange(ROWS + 1, dtype=np.uint64) * np.uint64(LENGTH),
        np.arange(ROWS, dtype=np.int64),
        np.zeros(ROWS, np.uint32),
        doc_ids,
        np.arange(ROWS + 1, dtype=np.uint32) * np.uint32(SPANS),
        (starts, document, zeros, ones, ones, zeros.astype(np.int8), zeros, zeros.astype("f4")),
    )
    _nextlong.write_parquet(tmp_path / "first.parquet", sequences, "{}")
    table = pq.read_table(tmp_path / "first.parquet")
    path = tmp_path / "a.parquet"
    size = benchmark.pedantic(writer, args=(path, sequences, table), rounds=3, warmup_rounds=1)
    report(
        "write Parquet", who, ids.nbytes / 1e6, "MB/s", ratio=ratio, bytes_a_token=size / len(ids)
    )
