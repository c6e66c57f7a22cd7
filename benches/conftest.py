"""What all benches share: the real inputs, or the shipped ones, and how a figure is reported.

A bench states a figure with `report`: which stage (one block of the table), who, how much of what in
how many seconds. `table.py` needs nothing else to print the README's table.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "python" / "nextlong_rs" / "data"
PEERS = ["nextlong_rs", "numpy", "tokenizers", "scikit-learn", "faiss-cpu", "usearch", "pyarrow"]


@dataclass(frozen=True)
class Inputs:
    """The corpus and the tokenizer of the benches: those of `shared` where it lies above the
    repository, or else the shipped sample."""

    folder: Path | None

    def shared(self, *parts: str) -> Path | None:
        """A path under `shared`, or None where there is none."""
        path = self.folder.joinpath(*parts) if self.folder else None
        return path if path is not None and path.exists() else None

    @cached_property
    def corpus(self) -> Path:
        """A JSONL.zst file: that of `NEXTLONG_BENCH_CORPUS`, if it is set."""
        if given := os.environ.get("NEXTLONG_BENCH_CORPUS"):
            return Path(given)
        return self.shared("corpus", "corpus_medium.jsonl.zst") or DATA / "sample.jsonl.zst"

    @cached_property
    def tokenizer(self) -> Path:
        """A tokenizer.json."""
        return self.shared("tokenizers", "qwen3", "tokenizer.json") or DATA / "tokenizer.json"

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        """The lines of the corpus."""
        import zstandard

        with self.corpus.open("rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
            return [json.loads(line) for line in lines]

    @property
    def texts(self) -> list[str]:
        """The texts of its documents."""
        return [document["text"] for document in self.documents]

    def __str__(self) -> str:
        shipped = self.corpus.is_relative_to(DATA)
        name = f"the shipped sample ({self.corpus.name})" if shipped else self.corpus.name
        real = self.folder is not None and self.tokenizer.is_relative_to(self.folder)
        tokenizer = self.tokenizer.parent.name if real else "the shipped tokenizer"
        return f"{name} with {tokenizer}"


def found() -> Inputs:
    """The inputs on this machine; `NEXTLONG_SHIPPED=1` takes the shipped ones anyway."""
    folders = [parent / "shared" for parent in ROOT.parents]
    if os.environ.get("NEXTLONG_SHIPPED"):
        folders = []
    return Inputs(next((folder for folder in folders if (folder / "corpus").is_dir()), None))


@pytest.fixture(scope="session")
def inputs() -> Inputs:
    """The corpus and the tokenizer."""
    return found()


@pytest.fixture
def report(benchmark: Any) -> Callable[..., None]:
    """States the figure of the bench that ran: call it after `benchmark`."""

    def state(
        stage: str,
        who: str,
        amount: float,
        unit: str,
        *,
        ours: bool | None = None,
        seconds: float | None = None,
        target: float | None = None,
        ratio: float | None = None,
        **facts: Any,
    ) -> None:
        """Keeps and prints one figure.

        Args:
            stage: The block of the table that the figure stands in, beside its peers.
            who: What was measured. Names that begin with `nextlong_rs` are ours.
            amount: What was done in one round, in `unit` without the `/s`.
            unit: A rate, such as `MB/s`.
            ours: Overrides what the name says.
            seconds: What one round took; default: the best round of the benchmark.
            target: Ours: the rate to reach.
            ratio: A peer: how many times its rate ours is to reach.
            **facts: Anything else to show, such as `recall`.
        """
        taken = seconds if seconds is not None else benchmark.stats["min"]
        rate = amount / taken
        benchmark.extra_info.update(
            stage=stage,
            who=who,
            ours=who.startswith("nextlong_rs") if ours is None else ours,
            rate=rate,
            unit=unit,
            target=target,
            ratio=ratio,
            facts=facts,
        )
        shown = "".join(f", {name} {value:.4g}" for name, value in facts.items())
        print(f"\n{stage}: {who}: {rate:,.4g} {unit}{shown}")

    return state


def pytest_report_header() -> str:
    """Says what the benches read."""
    return f"benches on {found()}"


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Adds to the JSON what a figure depends on."""
    machine_info["inputs"] = str(found())
    machine_info["cores"] = len(os.sched_getaffinity(0))
    machine_info["load"] = os.getloadavg()[0]
    versions = {}
    for name in PEERS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    machine_info["packages"] = versions


@dataclass(frozen=True)
class Workshop:
    """A corpus up to the door of mining: what `bench_mine` and `bench_assemble` start from."""

    store: Any
    vectors: Any
    queue: Any
    search: Any
    doc_ids: list[str]
    rows: Any
    """All token ids of all chunks, as `Tokenizer.encode_chunks` gives them."""


@pytest.fixture(scope="session")
def workshop(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The corpus chunked, embedded, tokenized whole, and its exact search opened."""
    import numpy as np

    from nextlong_rs.corpus.inputs import resolve
    from nextlong_rs.run.directory import Run
    from nextlong_rs.settings import Settings
    from nextlong_rs.stage.chunk import chunk
    from nextlong_rs.stage.context import Job
    from nextlong_rs.stage.embed import embed
    from nextlong_rs.stage.fit import fit
    from nextlong_rs.stage.index import index
    from nextlong_rs.stage.plan import plan
    from nextlong_rs.tokenize.load import load

    run = Run(tmp_path_factory.mktemp("workshop") / "out")
    run.lock()
    job = Job(Settings(index="exact"), run, threads=None, progress=False)
    listing = resolve(inputs.corpus)
    tokenizer = load(inputs.tokenizer)
    store = chunk(job, listing, tokenizer)
    vectors = embed(job, store, fit(job, store, "lsa"))
    queue = plan(job, store, listing)
    search = index(job, store, vectors, queue)
    rows = tokenizer.encode_chunks(store, np.arange(len(store), dtype=np.uint32))
    doc_ids = [document["id"] for document in inputs.documents]
    assert len(doc_ids) == len(set(doc_ids)) == store.document_count
    return Workshop(store, vectors, queue, search, doc_ids, rows)
