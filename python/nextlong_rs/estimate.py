"""Estimates a run beforehand: chunks, disk, memory and time, from a sample of the corpus.

In: the arguments of `synthesize`. Out: numbers. A few megabytes of the corpus go through every stage of
a run, in a temporary folder; each stage's seconds and bytes are then scaled by what they grow with:
chunks, queries times vectors, or tokens.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from nextlong_rs import _nextlong
from nextlong_rs.corpus.blocks import Block, read_blocks
from nextlong_rs.engine.pool import Pool
from nextlong_rs.errors import ConfigError
from nextlong_rs.options import Options
from nextlong_rs.run.directory import Run
from nextlong_rs.run.memory import held_now
from nextlong_rs.settings import Settings
from nextlong_rs.stage.chunk import chunk, corpus_config
from nextlong_rs.stage.context import Job
from nextlong_rs.stage.embed import embed
from nextlong_rs.stage.fit import fit
from nextlong_rs.stage.index import index
from nextlong_rs.stage.mine import mine
from nextlong_rs.stage.needs import FEW, needs
from nextlong_rs.stage.plan import plan
from nextlong_rs.stage.prepare import Prepared, prepare
from nextlong_rs.stage.write import write

__all__ = ["Estimate", "estimate"]

_SAMPLE_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20
_FILES = 8
_TOKENS = 2_000_000
_FIT_FIXED = 16_000
"""Fitting takes as long as for so many chunks more, whatever their number."""
_DEPTH = 128
"""Neighbours of a meta-chunk that are looked for at first, about."""
_LATE = 16
"""Deeper searches of a sequence when half of what `max_reuse` allows is used."""
_ASKED_FOR = 0.8
"""The share of the chunks that are any meta-chunk's neighbour, if enough sequences are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run will need; `print` it.

    Attributes:
        documents: Of the corpus.
        chunks: Of all documents.
        text_bytes: UTF-8 bytes of all documents.
        sequences: That will be made.
        tokens: Of all sequences.
        disk_bytes: Of the finished run's folder, `work` included.
        memory_bytes: The most that the process holds, mapped files aside.
        seconds: Of each stage, by the clock; `start` is loading the tokenizer and listing the inputs.
        threads: That it is meant for.
        sampled_bytes: UTF-8 bytes of the documents that were looked at.
    """

    documents: int
    chunks: int
    text_bytes: int
    sequences: int
    tokens: int
    disk_bytes: int
    memory_bytes: int
    seconds: dict[str, float]
    threads: int
    sampled_bytes: int

    @property
    def total_seconds(self) -> float:
        """Of the whole run, by the clock."""
        return sum(self.seconds.values())

    def __str__(self) -> str:
        """A line for each number."""
        stages = ", ".join(f"{name} {seconds:,.0f}" for name, seconds in self.seconds.items())
        return "\n".join(
            [
                f"about {self.documents:,} documents, {self.text_bytes / 1e6:,.0f} MB of text, "
                f"{self.chunks:,} chunks",
                f"  sequences  {self.sequences:,} of {self.tokens / 1e6:,.1f} M tokens",
                f"  disk       {self.disk_bytes / 1e9:,.2f} GB",
                f"  memory     {self.memory_bytes / 1e9:,.2f} GB",
                f"  time       {self.total_seconds:,.0f} s with {self.threads} threads ({stages})",
                f"  from       {self.sampled_bytes / 1e6:,.1f} MB of text",
            ]
        )


def estimate(
    inputs: Any,
    *,
    tokenizer: Any,
    settings: Settings | None = None,
    embedder: str | None = None,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    sample_bytes: int = _SAMPLE_BYTES,
    **options: Unpack[Options],
) -> Estimate:
    """Estimate what `synthesize` with the same arguments will need.

    Takes some seconds. Files are read from their beginnings: where a file is not like its
    beginning, neither will the run be like the estimate.

    Args:
        inputs: Files, folders or globs, as in `synthesize`.
        tokenizer: As in `synthesize`.
        settings: As in `synthesize`.
        embedder: Overrides `settings.embedder`; one that settings can name.
        threads: As in `synthesize`.
        memory_limit: As in `synthesize`.
        sample_bytes: Bytes of the corpus to look at, after decompression. Default 16 MiB.
        **options: Any field of `Settings`, or `mode="paper"`.

    Returns:
        The estimate.

    Raises:
        ConfigError: A wrong setting, or an input that is no file.
        CorpusError: As in `synthesize`.
    """
    if sample_bytes < 1:
        raise ConfigError(
            f"invalid `sample_bytes`: {sample_bytes}, expected a whole number of at least 1"
        )
    started = time.perf_counter()
    named = {} if embedder is None else {"embedder": embedder}
    given = prepare(inputs, tokenizer=tokenizer, settings=settings, options={**options, **named})
    with Pool(1) as pool:
        pool.call(given.tokenizer.ready)
    start = time.perf_counter() - started
    if given.settings.embedder.endswith(".npy") or ".parquet:" in given.settings.embedder:
        raise ConfigError(
            "`estimate` cannot use precomputed embeddings; hint: use `embedder='lsa'`"
        )
    for one in given.listing:
        if one.path is None:
            raise ConfigError(f"cannot estimate input {one.name}: expected a file")
    with tempfile.TemporaryDirectory(prefix="nextlong-estimate-") as folder:
        sample = _Sample(given, Path(folder) / "out", threads, memory_limit, sample_bytes)
        return sample.scaled(start)


class _Sample:
    """A run over a few blocks of the corpus, and what it took."""

    def __init__(
        self,
        given: Prepared,
        output: Path,
        threads: int | None,
        memory_limit: int | str | None,
        sample_bytes: int,
    ) -> None:
        self.settings = given.settings
        self.listing = given.listing
        wanted = max(2, _TOKENS // self.settings.seq_len)
        if self.settings.num_sequences is not None:
            wanted = min(wanted, self.settings.num_sequences)
        # What few documents cannot give is no error of the corpus.
        small = replace(
            self.settings, num_sequences=wanted, index="exact", max_error_rate=1.0, max_reuse=None
        )
        run = Run(output, shown=False)
        self.job = Job(small, run, threads=threads, memory_limit=memory_limit, progress=False)
        self.blocks: list[tuple[int, int]] = []
        with run.lock():
            self._run(given, sample_bytes)

    def _run(self, given: Prepared, sample_bytes: int) -> None:
        job = self.job
        store = chunk(job, self.listing, given.tokenizer, self._read(sample_bytes))
        vectors = embed(job, store, fit(job, store, job.settings.embedder))
        queue = plan(job, store, self.listing)
        search = index(job, store, vectors, queue)
        rest = (given.tokenizer, given.special, given.separator())
        selector, parts = mine(job, store, vectors, search, queue, *rest, "{}")
        write(job, parts, len(selector), "{}")
        self.chunks, self.dim = len(store), vectors.dim
        self.eligible = len(queue) / store.document_count
        rows = np.arange(min(len(store), 256), dtype=np.int64)
        started = time.perf_counter()
        search.search(rows, min(64, len(store)))
        self.score_seconds = (time.perf_counter() - started) / (len(rows) * len(store))
        started = time.perf_counter()
        given.tokenizer.encode_chunks(store, rows)
        self.token_seconds = (time.perf_counter() - started) / len(rows)

    def _read(self, sample_bytes: int) -> Iterator[Block]:
        """Blocks from the beginnings of some files, spread over all by their bytes."""
        config = corpus_config(self.settings)
        chosen = _spread([one.size or 0 for one in self.listing], _FILES)
        most = -(-sample_bytes // len(chosen))
        for number in chosen:
            held = 0
            one = [self.listing[number]]
            for block in read_blocks(one, config, block_bytes=min(_BLOCK_BYTES, most)):
                self.blocks.append((number, block.file_bytes))
                yield block
                held += block.bytes
                if held >= most:
                    break

    def scaled(self, start: float) -> Estimate:
        """The whole run, by what each part of it grows with."""
        summary, seconds = self.job.summary, self.job.seconds
        corpus, made = summary["corpus"], summary["sequences"]
        read = sum(file_bytes for _, file_bytes in self.blocks)
        growth = max(sum(one.size or 0 for one in self.listing) / max(read, 1), 1.0)
        chunks = round(self.chunks * growth)
        documents = round(corpus["documents"] * growth)
        tried = made["made"] + made["dropped_short"] + made["long_skipped"]
        usable = documents * self.eligible * (made["made"] / tried if tried else 1.0)
        filled = self._filled(chunks, made["negatives"] / max(made["made"], 1))
        sequences = round(min(usable, filled, self.settings.num_sequences or math.inf))
        more = sequences / max(made["made"], 1)
        tokens = round(made.get("tokens", 0) * more)
        # A deeper search looks at all vectors again.
        searches = made["meta_chunks"] + made["deeper_searches"]
        engine = self._engine(chunks, searches * more)
        scan = searches * self.score_seconds / self.job.threads
        late = max(sequences - filled / 2, 0.0) * _LATE * self.score_seconds / self.job.threads
        tokenizing = self.token_seconds * made["chunks_tokenized"] / self.job.threads
        rest = max(seconds["mine"] - scan * self.chunks - tokenizing, 0.1 * seconds["mine"])
        mining = [
            rest * more,
            tokenizing * self._tokenized(more, chunks),
            scan * more * chunks * self._share(engine, chunks, round(searches * more)),
            # Among ever fewer chunks, down to none.
            late * min(chunks, FEW) / 2,
        ]
        fitted = [
            min(self.settings.fit_chunks, count) + _FIT_FIXED for count in (chunks, self.chunks)
        ]
        samples = [
            count
            * len(_nextlong.recall_sample(0, max(round(searches * scale), 1), count, self.dim))
            for count, scale in ((chunks, more), (self.chunks, 1.0))
        ]
        expected = {
            "start": start,
            "chunk": seconds["chunk"] * growth,
            "fit": seconds["fit"] * fitted[0] / fitted[1],
            "embed": seconds["embed"] * growth,
            "index": seconds["index"] * samples[0] / samples[1],
            "mine": sum(mining),
            "write": seconds["write"] * more,
        }
        # The sample was searched by the exact scan, which builds nothing.
        building = _nextlong.building_seconds(engine, chunks, self.dim)
        expected["index"] += building / self.job.threads
        if self.settings.embedder != "lsa":
            expected["fit"] = seconds["fit"]
        return Estimate(
            documents=documents,
            chunks=chunks,
            text_bytes=round(corpus["text_bytes"] * growth),
            sequences=sequences,
            tokens=tokens,
            disk_bytes=round(self._disk(growth, more, chunks)),
            memory_bytes=self._memory(chunks, sequences),
            seconds=expected,
            threads=self.job.threads,
            sampled_bytes=corpus["text_bytes"],
        )

    def _filled(self, chunks: int, negatives: float) -> float:
        """How many sequences the chunks suffice for under `max_reuse`."""
        if self.settings.max_reuse is None or self.settings.on_short != "drop":
            return math.inf
        return chunks * self.settings.max_reuse / max(negatives, 1.0)

    def _engine(self, chunks: int, queries: float) -> str:
        if self.settings.index != "auto":
            return self.settings.index
        recall = self.settings.min_recall
        return _nextlong.choose_engine(chunks, round(queries), _DEPTH, self.dim, recall)[0]

    def _disk(self, growth: float, more: float, chunks: int) -> float:
        work = self.job.run.work

        def size(*patterns: str) -> int:
            found = itertools.chain.from_iterable(work.glob(pattern) for pattern in patterns)
            return sum(path.stat().st_size for path in found)

        made = self.job.summary["sequences"]
        by_chunk = size("chunks/*", "embed/part-*") * growth + size("embed/model*")
        if self.settings.index == "clustered":
            by_chunk += chunks * (self.dim + 8)
        if self.settings.index == "hnsw":
            by_chunk += chunks * (self.dim + 160)
        by_sequence = (size("mine/*", "select/*") + made["output_bytes"]) * more
        return float(by_chunk + by_sequence + size("tokens/*") * self._tokenized(more, chunks))

    def _tokenized(self, more: float, chunks: int) -> float:
        """The chunks that are tokenized, each once, for each of the sample's."""
        made = self.job.summary["sequences"]
        pieces = (made["meta_chunks"] + made["negatives"]) * more
        asked_for = _ASKED_FOR * chunks
        distinct = asked_for * -math.expm1(-pieces / asked_for)
        return float(distinct / max(made["chunks_tokenized"], 1))

    def _share(self, engine: str, chunks: int, queries: int) -> float:
        """What the engine's answers take of what the exact scan takes, by the model."""
        rest = (chunks, queries, _DEPTH, self.dim, self.settings.min_recall)
        exact = _nextlong.searching_seconds("exact", *rest)
        share = _nextlong.searching_seconds(engine, *rest) / exact if exact else 1.0
        return float(share)

    def _memory(self, chunks: int, sequences: int) -> int:
        budget, most = self.job.budget, 0
        base = held_now()
        needed = needs(self.settings, chunks=chunks, sequences=sequences, kept=budget.kept)
        for name, need in needed.items():
            if name == "fit" and self.settings.embedder != "lsa":
                continue
            threads = budget.threads(name, self.job.threads, need)
            most = max(most, base + need.shared + need.each * threads)
        return most


def _spread(sizes: Sequence[int], most: int) -> list[int]:
    """At most so many files, spread evenly over the bytes of all."""
    ends = np.cumsum(sizes)
    places = (np.arange(most) + 0.5) / most * (ends[-1] if len(ends) else 0)
    # Where all are empty, the places lie behind the last.
    found = np.searchsorted(ends[:-1], places, side="right")
    return sorted({int(number) for number in found})
