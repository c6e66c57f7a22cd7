"""Small runs whose output bytes are pinned, and the hashes of what they write.

In: the sample corpus of the package and a model that is stored here. Out: one hash for each part of
the output, so that a difference names the column or the group of facts.

The stored model is what makes the hashes the same on every processor: fitting one uses kernels whose
sums differ between processors. Runs that fit a model of their own (`FITTED`) have one record for each
kind of processor.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zstandard

import nextlong_rs as nl

HERE = Path(__file__).parent
MODEL = HERE / "model.safetensors.gz"
RECORD = HERE / "runs.json"
MISTRAL = Path(__file__).resolve().parents[3] / "shared" / "tokenizers" / "mistral"

BASE: dict[str, Any] = {"seq_len": 8192, "num_sequences": 12, "progress": False}
MODEL_DIM = 16

# Facts that depend on the machine, the version or the time. The sizes and hashes of whole files do,
# because the version is part of their metadata.
_MACHINE_FACTS = {"retrieval": ["kernel"], "sequences": ["output_bytes"]}


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the record.

    Attributes:
        changes: The settings that differ from `BASE`.
        inputs: Makes the inputs of files that it may write to a folder; the sample by default.
        tokenizer: The tokenizer; the sample's by default.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    inputs: Callable[[Path], Any] = lambda folder: nl.sample_corpus()
    tokenizer: Path | None = None


def documents() -> list[dict[str, Any]]:
    """The documents of the sample corpus."""
    with nl.sample_corpus().open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file).read()
    return [json.loads(line) for line in text.splitlines()]


def _weighted(folder: Path) -> Any:
    """Two files with weights."""
    rows = documents()
    paths = {}
    for name, part, weight in (("a", rows[::2], 1.0), ("b", rows[1::2], 3.0)):
        paths[folder / f"{name}.jsonl"] = weight
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in part]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return paths


def _scored(folder: Path) -> Any:
    """Documents in memory, each with a score."""
    return [{**row, "score": number % 4} for number, row in enumerate(documents()[:200])]


RUNS: dict[str, Run] = {
    "default": Run(),
    "paper": Run({"mode": "paper"}),
    "weighted inputs": Run(inputs=_weighted),
    "tokens of Mistral": Run(
        {"chunk_unit": "tokens", "chunk_size": 400}, tokenizer=MISTRAL / "tokenizer.json"
    ),
    "tokens of the sample": Run({"chunk_unit": "tokens", "chunk_size": 400}),
    "exhaustive": Run({"index": "exhaustive"}),
    "clustered": Run({"index": "clustered", "chunk_size": 512}),
    "hnsw": Run({"index": "hnsw", "chunk_size": 512}),
    "all documents": Run({"num_sequences": None, "seq_len": 4096}),
    "shortened": Run(
        {"num_sequences": None, "on_short": "shorten", "min_score": 0.9, "max_reuse": 1}
    ),
    "dropped": Run({"num_sequences": None, "min_score": 0.9, "max_reuse": 1}),
    "long documents pass": Run(
        {"num_sequences": None, "seq_len": 4096, "long_documents": "pass", "min_meta_chunks": 1}
    ),
    "random ranks": Run(
        {"sampling_strategy": "random", "placement": "random", "range_min": 3, "range_max": 80}
    ),
    "near-duplicates allowed": Run({"max_containment": None, "max_score": 0.9}),
    "limits on negatives": Run(
        {
            "min_score": 0.05,
            "absolute_margin": 0.01,
            "relative_margin": 0.02,
            "num_negatives": 6,
            "max_per_doc": 1,
            "on_short": "shorten",
        }
    ),
    "same document allowed": Run(
        {"exclude_same_doc": False, "collisions": "first-come", "placement": "tail"}
    ),
    "separator": Run({"chunk_separator": "\n\n---\n\n", "bos": None, "seed": 7}),
    "no separator": Run({"chunk_separator": "", "eos": None, "chunk_size": 700}),
    "groups by source": Run({"source_column": "source", "num_sequences": 30, "seq_len": 4096}),
    "scored documents in memory": Run({"score_column": "score"}, inputs=_scored),
}
"""Runs with the stored model."""

FITTED: dict[str, Run] = {
    "default, fitted": Run(),
    "dim and seed, fitted": Run({"dim": 40, "seed": 3, "idf_power": 1.0, "num_sequences": 6}),
}
"""Runs that fit a model of their own."""


def processor() -> str:
    """What the sums of a fit depend on: the instruction set and the sizes of the caches."""
    caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    return " ".join([_instruction_set(), *(path.read_text().strip() for path in caches)])


def _instruction_set() -> str:
    """The instruction set that the kernels of the fit take on this processor."""
    try:
        flags = set(
            Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
        )
    except (OSError, IndexError):
        return "unknown"
    for name, needed in (
        ("avx512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
        ("avx2", {"avx2", "fma"}),
    ):
        if needed <= flags:
            return name
    return "sse2"


@contextmanager
def stored_model() -> Iterator[nl.Embedder]:
    """The model of this folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(gzip.decompress(MODEL.read_bytes()))
        yield nl.Embedder.load(path)


def hashes(
    name: str, folder: Path, *, threads: int, embedder: nl.Embedder | None
) -> dict[str, str]:
    """Make a run in an empty folder and hash what it wrote.

    Args:
        name: The run's name in `RUNS`, or in `FITTED` if there is no embedder.
        folder: Where its inputs and its output go.
        threads: Threads of the run.
        embedder: The stored model; None fits one.

    Returns:
        A hash for each part of the output, by name.
    """
    run = FITTED[name] if embedder is None else RUNS[name]
    output = folder / "out"
    nl.synthesize(
        run.inputs(folder),
        output,
        tokenizer=run.tokenizer or nl.sample_tokenizer(),
        embedder=embedder,
        threads=threads,
        **{**BASE, **run.changes},
    )
    found: dict[str, str] = {}
    for path in sorted(output.glob("part-*.parquet")):
        found.update(_of_file(path))
    manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    found.update(_of_manifest(manifest))
    return found


def _of_file(path: Path) -> Iterator[tuple[str, str]]:
    """Hashes of the data pages, of each column's values and of the metadata."""
    content = path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little")
    yield f"{path.name} pages", _hash(content[: -8 - footer])
    table = pq.read_table(path)
    for column in table.column_names:
        values = table[column].combine_chunks()
        digest = hashlib.sha256(str(values.type).encode())
        digest.update(json.dumps(values.to_pylist()).encode())
        yield f"{path.name} {column}", digest.hexdigest()[:32]
    kept = json.loads(pq.read_metadata(path).metadata[b"nextlong"])
    kept.pop("versions")
    yield f"{path.name} metadata", _hash_json(kept)


def _of_manifest(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Hashes of its parts, without times, versions, folders and what depends on the machine."""
    for name in ("settings", "tokenizer"):
        yield f"manifest {name}", _hash_json(manifest[name])
    inputs = [
        {**one, "name": Path(one["name"]).name, "mtime_ns": None} for one in manifest["inputs"]
    ]
    yield "manifest inputs", _hash_json(inputs)
    files = [{**one, "bytes": None, "sha256": None} for one in manifest["files"]]
    yield "manifest files", _hash_json(files)
    for group, facts in manifest["summary"].items():
        if isinstance(facts, dict):
            dropped = _MACHINE_FACTS.get(group, [])
            facts = {key: value for key, value in facts.items() if key not in dropped}
        yield f"summary {group}", _hash_json(facts)


def _hash_json(value: Any) -> str:
    return _hash(json.dumps(value, sort_keys=True).encode())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def fit_model() -> None:
    """Fit the model on the sample corpus and store it."""
    texts = [text for row in documents() for text in nl.chunk(row["text"])][::3]
    model = nl.Embedder.fit(texts, dim=MODEL_DIM, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        MODEL.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))


def check_usable(embedder: nl.Embedder) -> None:
    """Refuse a model with too few distinctions to rank neighbours."""
    rows = embedder.encode([row["text"][:2000] for row in documents()[:50]])
    assert np.linalg.matrix_rank(rows) == MODEL_DIM
