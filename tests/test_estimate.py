"""What an estimate says beforehand is about what a run then takes."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.cli import main
from nextlong_rs.estimate import _Sample

SMALL: dict[str, Any] = {"seq_len": 8192, "num_sequences": 60, "seed": 3, "dim": 64}


def documents() -> list[dict[str, str]]:
    """The sample's documents five times, no two alike."""
    with zstandard.ZstdDecompressor().stream_reader(nl.sample_corpus().open("rb")) as reader:
        rows = [json.loads(line) for line in io.TextIOWrapper(reader, encoding="utf-8")]
    return [
        {"id": f"{copy}/{row['id']}", "text": row["text"].replace("e", "e" * copy)}
        for copy in range(1, 6)
        for row in rows
    ]


def lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write(kind: str, folder: Path) -> Path:
    """The documents as files of one kind."""
    rows = documents()
    folder.mkdir()
    for number in range(3):
        part = rows[number::3]
        path = folder / f"{number}.{kind}"
        if kind == "jsonl":
            path.write_bytes(lines(part))
        elif kind == "jsonl.gz":
            path.write_bytes(gzip.compress(lines(part)))
        elif kind == "jsonl.zst":
            path.write_bytes(zstandard.compress(lines(part)))
        else:
            pq.write_table(pa.Table.from_pylist(part), path, row_group_size=50)
    return folder


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet"])
def test_an_estimate_is_near_what_comes_out(kind: str, tmp_path: Path) -> None:
    corpus = write(kind, tmp_path / "corpus")
    told = nl.estimate(corpus, tokenizer=nl.sample_tokenizer(), sample_bytes=4 << 20, **SMALL)
    made = nl.synthesize(
        corpus, tmp_path / "out", tokenizer=nl.sample_tokenizer(), progress=False, **SMALL
    )
    summary = made.manifest["summary"]

    def near(estimated: float, counted: float) -> bool:
        return counted / 1.5 <= estimated <= counted * 1.5

    assert near(told.documents, summary["corpus"]["documents"])
    assert near(told.chunks, summary["corpus"]["chunks"])
    assert near(told.text_bytes, summary["corpus"]["text_bytes"])
    assert told.sequences == len(made) == 60
    assert told.tokens == summary["sequences"]["tokens"]
    disk = sum(path.stat().st_size for path in made.path.rglob("*") if path.is_file())
    assert near(told.disk_bytes, disk)
    assert 0 < told.sampled_bytes < summary["corpus"]["text_bytes"]
    assert list(told.seconds) == ["start", "chunk", "fit", "embed", "index", "mine", "write"]
    assert told.total_seconds == pytest.approx(sum(told.seconds.values()))


@pytest.mark.parametrize(("max_reuse", "seq_len"), [(None, 8192), (8, 8192), (1, 32768)])
def test_all_documents_are_counted_where_no_number_is_asked_for(
    max_reuse: int | None, seq_len: int, tmp_path: Path
) -> None:
    corpus = write("jsonl", tmp_path / "corpus")
    options = {**SMALL, "num_sequences": None, "max_reuse": max_reuse, "seq_len": seq_len}
    told = nl.estimate(corpus, tokenizer=nl.sample_tokenizer(), sample_bytes=4 << 20, **options)
    made = nl.synthesize(
        corpus, tmp_path / "out", tokenizer=nl.sample_tokenizer(), progress=False, **options
    )
    assert len(made) / 1.5 <= told.sequences <= len(made) * 1.5


def test_mining_takes_the_time_of_the_engine_and_of_each_chunk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus ten thousand times as large, by what its listing says."""
    job = (10**6, 10**6, 128, 256, 0.95)
    exact, clustered = (_nextlong.searching_seconds(e, *job) for e in ("exact", "clustered"))
    assert 0 < clustered < exact / 5
    assert _nextlong.searching_seconds("clustered", 10**6, 0, 128, 256, 0.95) == 0
    with pytest.raises(nl.ConfigError, match="tree"):
        _nextlong.searching_seconds("tree", *job)

    corpus = write("jsonl", tmp_path / "corpus")
    scaled = _Sample.scaled

    def mining(index: str, *, score: float, token: float) -> tuple[float, int]:
        def large(sample: Any, start: float) -> nl.Estimate:
            sample.listing = [replace(one, size=(one.size or 0) * 10**4) for one in sample.listing]
            sample.score_seconds, sample.token_seconds = score, token
            return scaled(sample, start)

        monkeypatch.setattr(_Sample, "scaled", large)
        options = {**SMALL, "num_sequences": None, "max_reuse": None, "index": index, "threads": 1}
        told = nl.estimate(corpus, tokenizer=nl.sample_tokenizer(), sample_bytes=1 << 20, **options)
        return told.seconds["mine"], told.chunks

    whole, chunks = mining("exact", score=1e-6, token=0.0)
    assert chunks > 10**7
    assert mining("clustered", score=1e-6, token=0.0)[0] < whole / 3
    # A thousand seconds for a chunk, so that nothing else counts.
    assert 500 < mining("exact", score=0.0, token=1000.0)[0] / chunks <= 1000


def test_building_an_index_takes_its_time(tmp_path: Path) -> None:
    corpus = write("jsonl", tmp_path / "corpus")
    options = {"tokenizer": nl.sample_tokenizer(), "sample_bytes": 1 << 20, "threads": 1, **SMALL}
    told = nl.estimate(corpus, index="hnsw", **options)
    building = _nextlong.building_seconds("hnsw", told.chunks, 64)
    assert told.seconds["index"] > building > 0 == _nextlong.building_seconds("exact", 10**9, 256)
    with pytest.raises(nl.ConfigError, match="tree"):
        _nextlong.building_seconds("tree", 1, 1)


def test_the_command_line_estimates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--sample", "--seq-len", "16k", "--num-sequences", "4"]) == 0
    shown = capsys.readouterr().out
    assert "chunks" in shown.splitlines()[0]
    assert all(word in shown for word in ("sequences", "disk", "memory", "time"))


def test_what_cannot_be_estimated_is_refused(tmp_path: Path) -> None:
    tokenizer = nl.sample_tokenizer()
    with pytest.raises(nl.ConfigError, match="cannot estimate input .*: expected a file"):
        nl.estimate(iter(["a text"]), tokenizer=tokenizer)
    with pytest.raises(nl.ConfigError, match="invalid `sample_bytes`: 0"):
        nl.estimate(nl.sample_corpus(), tokenizer=tokenizer, sample_bytes=0)
    with pytest.raises(nl.ConfigError, match="precomputed embeddings"):
        nl.estimate(nl.sample_corpus(), tokenizer=tokenizer, embedder="vectors.npy")
    with pytest.raises(nl.ConfigError, match="did you mean `seq_len`"):
        nl.estimate(nl.sample_corpus(), tokenizer=tokenizer, seq_length=3)  # type: ignore[call-arg]
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (empty / name).touch()
    with pytest.raises(nl.CorpusError, match="no usable text"):
        nl.estimate(empty, tokenizer=tokenizer)
    (empty / "b.jsonl").write_text('{"body": "a text"}\n' * 3)
    with pytest.raises(nl.CorpusError, match="3 rows .* text is missing: 3$"):
        nl.estimate(empty, tokenizer=tokenizer)
    (empty / "b.jsonl").write_bytes(lines(documents()[:200]))
    (empty / "c.jsonl").touch()
    assert nl.estimate(empty, tokenizer=tokenizer, **SMALL).documents == 200
