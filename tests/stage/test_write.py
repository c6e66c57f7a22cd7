"""The Parquet writer of the core: what is written is what every reader reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlong_rs import _nextlong
from nextlong_rs.errors import RunError

pq = pytest.importorskip("pyarrow.parquet")

LENGTH = 256
COLUMNS = {
    "input_ids": "list<element: int32>",
    "length": "int32",
    "seq_lengths": "list<element: int32>",
    "seq_start_id": "list<element: int32>",
    "sequence_id": "int64",
    "strategy": "string",
    "meta_doc_id": "string",
    "span_token_start": "list<element: int32>",
    "span_doc_id": "list<element: string>",
    "span_chunk": "list<element: int32>",
    "span_char_start": "list<element: int64>",
    "span_char_end": "list<element: int64>",
    "span_role": "list<element: int8>",
    "span_meta": "list<element: int32>",
    "span_score": "list<element: float>",
}


def made(rows: int = 4, length: int = LENGTH) -> tuple[_nextlong.Sequences, list[dict[str, Any]]]:
    """Sequences, and the rows that a reader should give."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 150_000, rows * length).astype(np.uint32)
    doc_ids = ["doc-0", "doc-1", "é\n"]
    starts = np.tile(np.array([0, 10, 11], np.int32), rows)
    document = np.tile(np.array([1, -1, 2], np.int64), rows)
    chunk = np.tile(np.array([0, -1, 7], np.int32), rows)
    char_start = np.tile(np.array([0, -1, 1 << 40], np.int64), rows)
    role = np.tile(np.array([0, 2, 1], np.int8), rows)
    meta = np.tile(np.array([0, -1, 0], np.int32), rows)
    score = np.tile(np.array([1.0, 0.0, 0.25], np.float32), rows)
    sequences = _nextlong.Sequences.from_arrays(
        "nextlong",
        ids,
        np.arange(rows + 1, dtype=np.uint64) * np.uint64(length),
        np.arange(rows, dtype=np.int64) + 100,
        np.ones(rows, np.uint32),
        doc_ids,
        np.arange(rows + 1, dtype=np.uint32) * np.uint32(3),
        (starts, document, chunk, char_start, char_start + 5, role, meta, score),
    )
    expected = [
        {
            "input_ids": ids[row * length : (row + 1) * length].tolist(),
            "length": length,
            "seq_lengths": [length],
            "seq_start_id": [0],
            "sequence_id": row + 100,
            "strategy": "nextlong",
            "meta_doc_id": "doc-1",
            "span_token_start": [0, 10, 11],
            "span_doc_id": ["doc-1", None, "é\n"],
            "span_chunk": [0, -1, 7],
            "span_char_start": [0, -1, 1 << 40],
            "span_char_end": [5, 4, (1 << 40) + 5],
            "span_role": [0, 2, 1],
            "span_meta": [0, -1, 0],
            "span_score": [1.0, 0.0, 0.25],
        }
        for row in range(rows)
    ]
    return sequences, expected


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    sequences, expected = made()
    path = tmp_path / "part-00000.parquet"
    rows, size = _nextlong.write_parquet(path, sequences, '{"seed": 0}')
    assert rows == len(sequences) == 4
    assert size == path.stat().st_size
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    return path, expected


def test_pyarrow_reads_the_columns_of_the_format(
    written: tuple[Path, list[dict[str, Any]]],
) -> None:
    path, expected = written
    table = pq.read_table(path)
    assert {field.name: str(field.type) for field in table.schema} == COLUMNS
    assert table.column_names == list(COLUMNS)
    assert table.to_pylist() == expected
    assert json.loads(pq.read_metadata(path).metadata[b"nextlong"]) == {"seed": 0}


def test_tokens_are_split_by_byte_and_compressed(
    written: tuple[Path, list[dict[str, Any]]],
) -> None:
    metadata = pq.read_metadata(written[0])
    column = metadata.row_group(0).column(0)
    assert column.path_in_schema == "input_ids.list.element"
    assert column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings
    assert not column.has_dictionary_page
    assert {metadata.row_group(0).column(place).compression for place in range(15)} == {"ZSTD"}


def test_datasets_reads_it(written: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path, expected = written
    dataset = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert dataset.column_names == list(COLUMNS)
    assert dataset.to_list() == expected
    streamed = datasets.load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    assert list(streamed) == expected


def test_polars_reads_it(written: tuple[Path, list[dict[str, Any]]]) -> None:
    polars = pytest.importorskip("polars")
    path, expected = written
    assert polars.read_parquet(path).to_dicts() == expected
    assert polars.scan_parquet(path).collect().to_dicts() == expected


def test_duckdb_reads_it(written: tuple[Path, list[dict[str, Any]]]) -> None:
    duckdb = pytest.importorskip("duckdb")
    path, expected = written
    found = duckdb.sql(f"select * from '{path}'")
    assert found.columns == list(COLUMNS)
    assert [dict(zip(COLUMNS, row, strict=True)) for row in found.fetchall()] == expected


def test_row_groups_hold_64_mib_of_tokens(tmp_path: Path) -> None:
    sequences, expected = made(rows=200, length=131_072)
    path = tmp_path / "a.parquet"
    _nextlong.write_parquet(path, sequences, "{}")
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(group).num_rows for group in range(2)] == [128, 72]
    table = pq.read_table(path, columns=["input_ids"])
    ids = np.concatenate([chunk.values.to_numpy() for chunk in table["input_ids"].chunks])
    assert np.array_equal(ids, np.concatenate([row["input_ids"] for row in expected]))


def test_no_sequences_make_an_empty_file(tmp_path: Path) -> None:
    sequences, _ = made(rows=0)
    _nextlong.write_parquet(tmp_path / "a.parquet", sequences, "{}")
    assert pq.read_table(tmp_path / "a.parquet").num_rows == 0


def test_the_same_sequences_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        _nextlong.write_parquet(tmp_path / name, made()[0], '{"a": 1, "b": 2}')
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_columns_that_do_not_agree_are_refused() -> None:
    none = (
        np.zeros(0, np.int32),
        np.zeros(0, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.int8),
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
    )
    with pytest.raises(RunError, match="input_ids has other rows"):
        _nextlong.Sequences.from_arrays(
            "x",
            np.zeros(5, np.uint32),
            np.array([0, 4], np.uint64),
            np.zeros(1, np.int64),
            np.zeros(1, np.uint32),
            ["a"],
            np.zeros(2, np.uint32),
            none,
        )


def test_a_folder_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _nextlong.write_parquet(tmp_path / "no" / "a.parquet", made()[0], "{}")
