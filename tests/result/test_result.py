"""A finished run read back: summary, rows, explanations."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from nextlong_rs.errors import ConfigError, RunError
from nextlong_rs.result.inspect import inspect
from nextlong_rs.result.result import Result

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("length", pa.int32()),
        ("seq_lengths", pa.list_(pa.int32())),
        ("seq_start_id", pa.list_(pa.int32())),
        ("sequence_id", pa.int64()),
        ("strategy", pa.string()),
        ("meta_doc_id", pa.string()),
        ("span_token_start", pa.list_(pa.int32())),
        ("span_doc_id", pa.list_(pa.string())),
        ("span_chunk", pa.list_(pa.int32())),
        ("span_char_start", pa.list_(pa.int64())),
        ("span_char_end", pa.list_(pa.int64())),
        ("span_role", pa.list_(pa.int8())),
        ("span_meta", pa.list_(pa.int32())),
        ("span_score", pa.list_(pa.float32())),
    ]
)

STORE = [
    # doc_id, chunk, char_start, text, input, row
    ("orchard", 0, 0, "Apples grow\non trees. 🍎\n", 0, 4),
    ("orchard", 1, 24, "Pears too.\n", 0, 4),
    ("garden", 7, 100, "Plums grow on trees as well, and so do cherries, quinces and figs.", 1, 0),
    ("garden", 8, 166, "never used", 1, 0),
]


def row(sequence_id: int) -> dict[str, Any]:
    nan = math.nan
    return {
        "input_ids": list(range(64)),
        "length": 64,
        "seq_lengths": [64],
        "seq_start_id": [0],
        "sequence_id": sequence_id,
        "strategy": "nextlong",
        "meta_doc_id": "orchard",
        # special, meta-chunk 0, separator, its negative, meta-chunk 1
        "span_token_start": [0, 1, 9, 10, 50],
        "span_doc_id": ["", "orchard", "", "garden", "orchard"],
        "span_chunk": [-1, 0, -1, 7, 1],
        "span_char_start": [-1, 0, -1, 100, 24],
        "span_char_end": [-1, 24, -1, 166, 35],
        "span_role": [2, 0, 2, 1, 0],
        "span_meta": [-1, 0, 0, 0, 1],
        "span_score": [nan, nan, nan, 0.8125, nan],
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for part in range(2):
        table = pa.Table.from_pylist([row(3 * part + number) for number in range(3)], SCHEMA)
        pq.write_table(table, tmp_path / f"part-0000{part}.parquet", row_group_size=2)
    manifest = {
        "inputs": ["fruit.jsonl", {"name": "trees.jsonl.zst", "bytes": 12}],
        "summary": {
            "read": {"documents": 12345, "read_bytes": 104_000_000},
            "rejected": {"same_document": 17, "over_max_score": 0},
            "index": {"engine": "hnsw", "recall": 0.96875, "widened": False},
            "seconds": {"chunk_seconds": 0.126, "mine_seconds": 7.5},
        },
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


@pytest.fixture
def run_with_chunks(run: Path) -> Path:
    columns = {
        "text": pa.array([text for _, _, _, text, _, _ in STORE], pa.large_string()),
        "doc_id": pa.array([doc_id for doc_id, *_ in STORE]),
        "chunk": pa.array([chunk for _, chunk, *_ in STORE], pa.int32()),
        "char_start": pa.array([start for _, _, start, *_ in STORE], pa.int64()),
        "input": pa.array([given for *_, given, _ in STORE], pa.int32()),
        "row": pa.array([line for *_, line in STORE], pa.int64()),
    }
    folder = run / "work" / "chunks"
    folder.mkdir(parents=True)
    table = pa.table(columns)
    for part, (start, stop) in enumerate([(0, 2), (2, 4)]):
        write_arrow(table.slice(start, stop - start), folder / f"part-0000{part}.arrow")
    folder = run / "work" / "select"
    folder.mkdir()
    for part, count in enumerate([4, 0, 2]):
        pieces = [(number, chunk) for number in range(count) for chunk in (0, 2, 1)]
        table = pa.table(
            {
                name: pa.array([piece[at] for piece in pieces], pa.uint32())
                for at, name in enumerate(["sequence", "chunk"])
            }
        )
        write_arrow(table, folder / f"part-0000{part}.arrow")
    return run


def write_arrow(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def test_the_summary_says_every_number_in_its_group(run: Path) -> None:
    assert str(Result.open(run)).splitlines() == [
        f"{run} (2 Parquet files)",
        "  read",
        "    documents   12,345",
        "    read bytes  104 MB",
        "  rejected",
        "    same document   17",
        "    over max score  0",
        "  index",
        "    engine   hnsw",
        "    recall   0.9688",
        "    widened  no",
        "  seconds",
        "    chunk seconds  0.13 s",
        "    mine seconds   7.50 s",
    ]


def test_the_sequences_are_read_in_order(run: Path) -> None:
    result = Result.open(run)
    assert len(result) == 6
    assert [result.sequence(number)["sequence_id"] for number in range(6)] == list(range(6))
    assert result.sequence(-1)["sequence_id"] == 5
    assert result.to_arrow()["sequence_id"].to_pylist() == list(range(6))
    for number in (6, -7):
        with pytest.raises(IndexError, match="of 6"):
            result.sequence(number)


def test_a_result_is_gone_through_and_indexed(run: Path) -> None:
    result = Result.open(run)
    assert [row["sequence_id"] for row in result] == list(range(6))
    assert result[-2]["sequence_id"] == 4
    with pytest.raises(IndexError, match="sequence 6 of 6"):
        result[6]


def test_chunks_of_another_run_explain_nothing(run_with_chunks: Path) -> None:
    (run_with_chunks / "work" / "chunks" / "part-00000.arrow").rename(run_with_chunks / "a")
    (run_with_chunks / "work" / "chunks" / "part-00001.arrow").rename(
        run_with_chunks / "work" / "chunks" / "part-00000.arrow"
    )
    spans = Result.open(run_with_chunks).explain(0).spans
    assert [(span.text, span.source) for span in spans] == [(None, None)] * 3


def test_the_result_is_a_dataset(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", run / "cache")
    dataset = Result.open(run).to_dataset()
    assert dataset["sequence_id"][:] == list(range(6))
    assert dataset[0]["input_ids"] == list(range(64))


def test_an_explanation_names_every_chunk(run_with_chunks: Path) -> None:
    explanation = Result.open(run_with_chunks).explain(4)
    first, negative, second = explanation.spans
    assert (first.text, first.source, first.tokens) == (STORE[0][3], "fruit.jsonl:5", 8)
    assert (negative.similarity, negative.source) == (0.8125, "trees.jsonl.zst:1")
    assert (second.char_start, second.token_start, second.tokens) == (24, 50, 14)
    assert str(explanation) == "\n".join(
        [
            "sequence 4 (nextlong): 64 tokens, document orchard, 2 meta-chunks, 1 negatives",
            "              document  chunk  characters  tokens  similarity  "
            "source             text",
            "",
            "meta-chunk 0  orchard       0          24       8              fruit.jsonl:5      "
            "Apples grow on trees. 🍎",
            "  negative    garden        7          66      40       0.812  trees.jsonl.zst:1  "
            "Plums grow on trees as well, and so do cherries, quinces an…",
            "",
            "meta-chunk 1  orchard       1          11      14              fruit.jsonl:5      "
            "Pears too.",
        ]
    )


def test_an_explanation_does_without_the_work_folder(run: Path) -> None:
    explanation = Result.open(run).explain(0)
    assert all(span.text is None and span.source is None for span in explanation.spans)
    assert "source" not in str(explanation)


def test_inspect_prints_the_first_sequences(run: Path) -> None:
    out = io.StringIO()
    inspect(run, n=2, file=out)
    assert [line[:10] for line in out.getvalue().splitlines() if line.startswith("seq")] == [
        "sequence 0",
        "sequence 1",
    ]


@pytest.mark.parametrize("wrong", [0, -3, True, "2"])
def test_inspect_wants_a_count(wrong: Any, run: Path) -> None:
    with pytest.raises(ConfigError, match="n is .* at least 1"):
        inspect(run, n=wrong)


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no finished run"):
        Result.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        Result.open(tmp_path)


def test_a_result_is_frozen(run: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Result.open(run).path = Path()  # type: ignore[misc]
