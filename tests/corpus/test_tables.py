"""Other inputs than files of lines: iterables, Arrow tables, Parquet, datasets: the same documents as from lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.reading import read, reasons, write_lines

from nextlong_rs.corpus.blocks import CorpusConfig, read_blocks
from nextlong_rs.corpus.inputs import resolve
from nextlong_rs.errors import ConfigError, CorpusError

zstandard = pytest.importorskip("zstandard")


def test_iterables_of_strings_and_mappings_are_read() -> None:
    assert read(iter(["a", "b"]))[0] == [("item:1", "a"), ("item:2", "b")]
    assert read(["a\nb", "c"])[0] == [("item:1", "a\nb"), ("item:2", "c")]
    mixed: list[object] = [
        "a",
        {"text": "b", "id": 7},
        {"id": "x"},
        {"text": 5},
        5,
        None,
        b"bytes",
        "\ud800",
        {"text": "c", "id": True},
        {"text": "d", "id": None, "score": 0.5},
        {"text": "e", "score": "high"},
        {"text": "f", "id": "\udfff"},
        "",
    ]
    rows, bad = read(iter(mixed), score_column="score", block_bytes=40)
    assert rows == [("item:1", "a"), ("7", "b"), ("item:10", "d")]
    assert reasons(bad) == [
        (3, "text is missing"),
        (4, "text is not a string"),
        (5, "not an object"),
        (6, "not an object"),
        (7, "not an object"),
        (8, "lone surrogate"),
        (9, "id is neither a string nor a number"),
        (11, "score is not a number"),
        (12, "lone surrogate"),
        (13, "text is empty"),
    ]


def test_an_error_of_the_iterable_is_the_users_own() -> None:
    def texts() -> Iterator[str]:
        yield "a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        read(texts())


def test_two_iterables_make_different_ids() -> None:
    rows, _ = read([iter(["a"]), iter(["b"])])
    assert [doc_id for doc_id, _ in rows] == ["item-0:1", "item-1:1"]


TEXTS = [f"text {number} " + "x" * (number % 50) for number in range(500)]


def test_arrow_tables_of_every_text_type_are_read() -> None:
    pa = pytest.importorskip("pyarrow")
    expected = [(str(number), text) for number, text in enumerate(TEXTS)]
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()):
        ids = pa.array(range(len(TEXTS)), pa.int64())
        table = pa.table({"id": ids, "text": pa.array(TEXTS, pa.string()).cast(kind)})
        for block_bytes in (1, 3000, 1 << 24):
            assert read(table, block_bytes=block_bytes) == (expected, []), kind
        assert read(table.slice(100, 50))[0] == expected[100:150]
    words = pa.array(["a", "b", None, "a"]).dictionary_encode()
    rows, bad = read(pa.table({"text": words}))
    assert rows == [("table:1", "a"), ("table:2", "b"), ("table:4", "a")]
    assert reasons(bad) == [(3, "text is missing")]
    assert bad[0]["offset"] is None


def test_bytes_that_are_no_text_are_bad_rows() -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"text": pa.array([b"a", b"\xff", None], pa.binary())})
    rows, bad = read(table)
    assert rows == [("table:1", "a")]
    assert reasons(bad) == [(2, "invalid UTF-8"), (3, "text is missing")]


def test_columns_of_wrong_types_are_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (pa.table({"body": ["a"]}), {}, "no column `text`; set text_column to one of: body"),
        (pa.table({"text": [1]}), {}, "column `text` holds Int64, not text"),
        (pa.table({"text": ["a"], "id": [[1]]}), {}, "column `id` holds List"),
        (pa.table({"text": ["a"]}), {"id_column": "key"}, "no column `key`; set id_column"),
        (pa.table({"text": ["a"], "s": ["b"]}), {"score_column": "s"}, "not numbers"),
    ]
    for table, setting, message in cases:
        path = tmp_path / "a.parquet"
        pq.write_table(table, path)
        for given_input in (table, path):
            with pytest.raises(CorpusError, match=message):
                read(given_input, **setting)


def test_parquet_is_read_row_group_by_row_group(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    scores = [None if number % 7 == 0 else number / 2 for number in range(len(TEXTS))]
    unused = [[number] for number in range(len(TEXTS))]
    table = pa.table({"unused": unused, "text": TEXTS, "score": scores})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=64, compression="zstd")
    expected = [(f"a.parquet:{number}", text) for number, text in enumerate(TEXTS, 1)]
    for block_bytes in (1, 3000, 1 << 24):
        assert read(path, block_bytes=block_bytes, score_column="score") == (expected, [])
    (block,) = read_blocks(resolve(path), CorpusConfig(score_column="score"))
    documents = block.parse()
    assert [documents.origin(row)[3] for row in range(len(documents))] == scores


def test_reading_on_counts_the_bytes_that_are_left(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    # A batch with a long text is cut between its rows.
    texts = [f"{row} " * (4000 if row % 50 == 7 else 5) for row in range(400)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=200, use_dictionary=False)
    inside = 0
    for block_bytes in (200, 1500, 6000):
        whole = list(read_blocks(resolve(path), block_bytes=block_bytes))
        counted = [block.file_bytes for block in whole]
        assert sum(counted) == path.stat().st_size
        for number, block in enumerate(whole[:-1], 1):
            _, row, at = block.next
            inside += at < row
            rest = read_blocks(resolve(path), block_bytes=block_bytes, start=(row, at))
            assert [block.file_bytes for block in rest] == counted[number:]
    assert inside > 5


def test_a_string_column_that_is_no_utf8_is_one_clear_error(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    values = [b"good", b"\xff\xfe bad", "schön".encode(), b"\xc3"]
    # Strings by name alone: nobody looks at the bytes.
    made = pa.array(values, pa.binary())
    forged = pa.Array.from_buffers(pa.string(), len(made), made.buffers())
    for extra in ({}, {"use_dictionary": False}):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"text": forged}), path, **extra)
        with pytest.raises(CorpusError, match=r"a\.parquet`.*non UTF-8.*fix or exclude the file"):
            read(path)
        # As bytes, row by row.
        pq.write_table(pa.table({"text": made}), path, **extra)
        rows, bad = read(path)
        assert [text for _, text in rows] == ["good", "schön"]
        assert reasons(bad) == [(2, "invalid UTF-8"), (4, "invalid UTF-8")]


def test_a_damaged_parquet_file_is_one_clear_error(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS}), path)
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorpusError, match=r"a\.parquet"):
            read(path)
    rng = random.Random(0)
    outcomes = set()
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read(path)
            outcomes.add("read")
        except CorpusError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_a_dataset_is_read_with_its_selection(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict({"text": TEXTS, "n": list(range(len(TEXTS)))})
    assert [text for _, text in read(dataset)[0]] == TEXTS
    chosen = dataset.shuffle(seed=1).select(range(50))
    assert [text for _, text in read(chosen)[0]] == chosen["text"][:]
    assert read(dataset.select([]))[0] == []
    assert [text for _, text in read(dataset.to_iterable_dataset())[0]] == TEXTS
    assert [text for _, text in read(iter(dataset))[0]] == TEXTS
    with pytest.raises(ConfigError, match="several splits"):
        resolve(datasets.DatasetDict({"train": dataset}))


def test_frames_that_give_an_arrow_stream_are_tables() -> None:
    polars = pytest.importorskip("polars")
    assert [text for _, text in read(polars.DataFrame({"text": TEXTS}))[0]] == TEXTS


def test_every_kind_gives_the_same_texts_in_order(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"text": text} for text in TEXTS[:10]])
    (tmp_path / "b.txt").write_text(TEXTS[10])
    given_inputs = [tmp_path / "a.jsonl", iter(TEXTS[11:20]), tmp_path / "b.txt"]
    rows, _ = read(given_inputs)
    assert [text for _, text in rows] == TEXTS[:10] + TEXTS[11:20] + [TEXTS[10]]
