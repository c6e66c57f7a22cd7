"""A corpus of many files: read side by side, the same bytes as one after another."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tests.support.killing import digest

import nextlong_rs as nl
from nextlong_rs.corpus import blocks
from nextlong_rs.corpus.blocks import Block
from nextlong_rs.corpus.inputs import Input, resolve
from nextlong_rs.stage import chunk as cutting

SMALL: dict[str, Any] = {"seq_len": 4096, "num_sequences": 20, "dim": 64, "progress": False}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's documents in files of all kinds, with bad lines here and there."""
    with zstandard.ZstdDecompressor().stream_reader(nl.sample_corpus().open("rb")) as reader:
        rows = [json.loads(line) for line in io.TextIOWrapper(reader, encoding="utf-8")]
    folder = tmp_path_factory.mktemp("files")

    def lines(number: int) -> bytes:
        bad = [b"{bad\n"] if number % 2 == 0 else []
        return b"".join([json.dumps(row).encode() + b"\n" for row in rows[number::8]] + bad)

    (folder / "0.jsonl").write_bytes(lines(0))
    (folder / "1.jsonl.gz").write_bytes(gzip.compress(lines(1)))
    (folder / "2.jsonl.zst").write_bytes(zstandard.compress(lines(2)))
    (folder / "3.jsonl").touch()
    pq.write_table(pa.Table.from_pylist(rows[4::8]), folder / "4.parquet", row_group_size=10)
    for number, row in enumerate(rows[5::8]):
        (folder / f"5-{number}.txt").write_text(row["text"])
    (folder / "6.jsonl.gz").write_bytes(gzip.compress(lines(6)) + gzip.compress(lines(7)))
    return folder


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 17)
    monkeypatch.setattr(cutting, "_LANE_BYTES", 1 << 18)


def synthesize(files: Any, output: Path, **options: Any) -> nl.Result:
    given = {**SMALL, "max_error_rate": 0.1, **options}
    return nl.synthesize(files, output, tokenizer=nl.sample_tokenizer(), **given)


def of_chunks(output: Path) -> dict[str, bytes]:
    found = [*(output / "work/chunks").iterdir(), output / "work/quarantine.jsonl"]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.usefixtures("small_blocks")
def test_the_bytes_do_not_depend_on_how_many_files_are_read_at_a_time(
    files: Path, tmp_path: Path
) -> None:
    for threads in (1, 2, 5):
        synthesize(files, tmp_path / str(threads), threads=threads)
    one = of_chunks(tmp_path / "1")
    assert {name[:10] for name in one if name.startswith("part-")} >= {
        f"part-{lane:05}" for lane in (0, 1, 2, 4, 5, 6)
    }
    assert one == of_chunks(tmp_path / "2") == of_chunks(tmp_path / "5")
    assert digest(tmp_path / "1") == digest(tmp_path / "2") == digest(tmp_path / "5")
    listed = [json.loads(line) for line in one["quarantine.jsonl"].splitlines()]
    assert [Path(bad["file"]).name for bad in listed] == ["0.jsonl", "2.jsonl.zst", "6.jsonl.gz"]


def test_the_size_of_blocks_and_lanes_changes_no_sequence(files: Path, tmp_path: Path) -> None:
    whole = synthesize(files, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 50_000)
        patch.setattr(cutting, "_LANE_BYTES", 1)
        cut = synthesize(files, tmp_path / "cut")
    assert [row["input_ids"] for row in whole] == [row["input_ids"] for row in cut]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("threads", [1, 3])
def test_only_what_is_missing_is_read_again(
    threads: int, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesize(files, tmp_path / "whole")
    markers = sorted((tmp_path / "whole/work/_done/chunk").glob("0*.json"))
    rng = random.Random(threads)
    whole = blocks.read_blocks
    for share in (0.0, 0.1, 0.6, 1.0):
        again = tmp_path / f"again-{share}"
        shutil.copytree(tmp_path / "whole", again)
        lost = {path.stem for path in markers if rng.random() < share}
        for stem in lost:
            (again / f"work/_done/chunk/{stem}.json").unlink()
        (again / "manifest.json").unlink()
        opened: set[str] = set()

        def watched(
            inputs: list[Input], *given: Any, opened: set[str] = opened, **options: Any
        ) -> Iterator[Block]:
            opened.update(Path(one.name).name for one in inputs if one.size)
            return whole(inputs, *given, **options)

        with monkeypatch.context() as patch:
            patch.setattr(blocks, "read_blocks", watched)
            synthesize(files, again, threads=threads)
        assert digest(again) == digest(tmp_path / "whole")
        assert of_chunks(again) == of_chunks(tmp_path / "whole")
        lanes = cutting.lanes(resolve(files))
        possible = {Path(one.name).name for stem in lost for one in lanes[int(stem[:5])]}
        assert opened <= possible
        assert bool(opened) == bool(lost)


def test_bad_rows_are_judged_in_the_order_of_the_files(files: Path, tmp_path: Path) -> None:
    """Whether a run stops must not depend on which file is read first."""
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good.jsonl"
    bad.write_text("{bad\n" * 10 + '{"text": "a text"}\n' * 190)
    good.write_text('{"text": "a text"}\n' * 10_000)
    options = {"max_error_rate": 0.01, "min_meta_chunks": 1, "max_score": None}
    for threads in (1, 3):
        with pytest.raises(nl.CorpusError, match="10 of 200 rows cannot be used"):
            synthesize([bad, good, files], tmp_path / "stopped", threads=threads, **options)
        synthesize([good, bad, files], tmp_path / f"made-{threads}", threads=threads, **options)
    assert digest(tmp_path / "made-1") == digest(tmp_path / "made-3")


def test_objects_and_files_are_read_in_their_order(files: Path, tmp_path: Path) -> None:
    def objects() -> list[Any]:
        return [iter(["one text", "another"]), files, iter([{"text": "a third", "id": "c"}])]

    for threads in (1, 3):
        made = synthesize(objects(), tmp_path / str(threads), threads=threads)
        assert made.manifest["summary"]["corpus"]["inputs"] == len(resolve(objects()))
    assert of_chunks(tmp_path / "1") == of_chunks(tmp_path / "3")
    assert digest(tmp_path / "1") == digest(tmp_path / "3")


def test_lanes_hold_every_input_once() -> None:
    def one(number: int, kind: str, size: int) -> Input:
        label = f"{number}"
        return Input(
            number=number, source=0, name=label, label=label, kind=kind, size=size, path=label
        )

    kinds = ["text"] * 40 + ["jsonl", "jsonl", "text", "parquet", "text", "text"]
    listing = [one(number, kind, 20 << 20) for number, kind in enumerate(kinds)]
    lanes = cutting.lanes(listing)
    assert [one for lane in lanes for one in lane] == listing
    assert [len(lane) for lane in lanes] == [12, 12, 12, 4, 1, 1, 1, 1, 2]
    empty = [one(number, "text", 0) for number in range(2_000_000)]
    assert [len(lane) for lane in cutting.lanes(empty)] == [1 << 20, 2_000_000 - (1 << 20)]
    assert cutting.lanes([]) == []
