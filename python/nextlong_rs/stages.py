"""The stages of a run, left to right: each takes what the one before it made and leaves files.

Every stage is cut into tasks whose borders are fixed by the plan, so that the files are the same
whatever the number of threads and the order in which tasks finish.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs import corpus as corpora
from nextlong_rs.errors import CorpusError
from nextlong_rs.run import file_hash, write_json

if TYPE_CHECKING:
    from nextlong_rs.index import Search
    from nextlong_rs.pipeline import Job
    from nextlong_rs.pool import Pool
    from nextlong_rs.tokenize import SpecialIds, Tokenizer

__all__ = ["chunk", "embed", "index", "mine", "plan", "write"]

PART_TOKENS = 1 << 24
"""Tokens in an output file: 64 MiB of ids, one row group."""


def chunk(job: Job, listing: Sequence[corpora.Input], tokenizer: Tokenizer) -> _nextlong.ChunkStore:
    """Reads the corpus and cuts it: `work/chunks/part-*.arrow`, bad rows to quarantine.jsonl."""
    settings, run = job.settings, job.run
    config = corpora.CorpusConfig(
        text_column=settings.text_column,
        id_column=settings.id_column,
        score_column=settings.score_column,
        max_document_bytes=settings.max_document_bytes,
        max_error_rate=settings.max_error_rate,
    )
    counter = tokenizer.counter() if settings.chunk_unit == "tokens" else None
    reasons: Counter[str] = Counter()
    documents = chunks = text_bytes = 0
    paths: list[Path] = []
    quarantine = run.work / "quarantine.jsonl"
    temporary = quarantine.with_name("quarantine.jsonl.tmp")

    with job.stage("chunk", unit="doc") as pool, temporary.open("wb") as rejected:

        def cut(item: tuple[int, corpora.Block]) -> tuple[Path, Any, Any]:
            number, block = item
            parsed = block.parse(pool.watch)
            path = run.part("chunks", number, "arrow")
            counts = _nextlong.chunk_part(
                parsed,
                path,
                mode=settings.chunk_mode,
                size=settings.chunk_size,
                counter=counter,
                watch=pool.watch,
            )
            run.mark("chunk", number, [path], documents=counts[0], chunks=counts[1])
            return path, parsed, counts

        blocks = enumerate(corpora.read_blocks(listing, config, watch=pool.watch))
        for path, parsed, counts in pool.in_order(cut, blocks):
            if counts[1]:
                paths.append(path)
            documents += counts[0]
            chunks += counts[1]
            text_bytes += counts[2]
            reasons.update(parsed.bad_counts())
            rows = documents + reasons.total()
            rejected.write(parsed.quarantine())
            corpora.check_error_rate(rows, reasons, config, quarantine=temporary)
    temporary.replace(quarantine)
    rows = documents + reasons.total()
    corpora.check_error_rate(rows, reasons, config, quarantine=quarantine, at_end=True)
    job.report(
        "corpus",
        inputs=len(listing),
        documents=documents,
        text_bytes=text_bytes,
        quarantined=reasons.total(),
        quarantined_by_reason=dict(sorted(reasons.items())),
        chunks=chunks,
    )
    if chunks == 0:
        raise CorpusError(
            f"the corpus has no usable text: {documents} documents, {reasons.total()} rows in {quarantine}"
        )
    return _nextlong.ChunkStore(paths)


def embed(job: Job, store: _nextlong.ChunkStore, embedder: Any) -> _nextlong.Vectors:
    """Gives every chunk its vector: `work/embed/part-*.npy`, float16, a row a chunk."""
    from nextlong_rs.embed import open_embedder

    settings, run = job.settings, job.run
    with job.stage("fit") as pool:
        model = open_embedder(
            embedder,
            store,
            dim=settings.dim,
            seed=settings.seed,
            idf_power=settings.idf_power,
            fit_chunks=settings.fit_chunks,
            folder=run.work / "embed",
            pool=pool,
        )
    paths = [run.part("embed", part, "npy") for part in range(store.part_count)]
    with job.stage("embed", total=len(store), unit="chunk") as pool:

        def one(part: int) -> None:
            start, stop = store.part_chunks(part)
            model.embed_part(store, start, stop, paths[part], watch=pool.watch)
            run.mark("embed", part, [paths[part]], chunks=stop - start)

        if model.on_main_thread:
            for part in range(store.part_count):
                one(part)
                pool.show()
        else:
            for _ in pool.in_order(one, range(store.part_count)):
                pass
    vectors = _nextlong.Vectors(paths)
    job.report("embedding", embedder=settings.embedder, dim=vectors.dim)
    return vectors


def plan(
    job: Job, store: _nextlong.ChunkStore, listing: Sequence[corpora.Input]
) -> NDArray[np.uint32]:
    """The documents to try, in their order: `work/plan/queue.json` counts them."""
    sources, weights = corpora.weights_of(listing)
    with job.stage("plan") as pool:
        queue = pool.call(lambda: _nextlong.queue(store, job.core, sources, weights))
    write_json(
        job.run.work / "plan" / "queue.json",
        {"documents": store.document_count, "eligible": len(queue), "weights": weights},
    )
    job.report(
        "sequences",
        eligible_documents=len(queue),
        documents_with_too_few_chunks=store.document_count - len(queue),
    )
    if len(queue) == 0:
        raise CorpusError(
            f"no document can become a sequence: none of {store.document_count} has "
            f"{job.settings.min_meta_chunks} chunks (min_meta_chunks)"
        )
    return queue


def index(
    job: Job,
    store: _nextlong.ChunkStore,
    vectors: _nextlong.Vectors,
    queue: NDArray[np.uint32],
) -> Search:
    """Builds the engine and measures its recall on a seeded sample of the queries."""
    from nextlong_rs.index import Search

    settings = job.settings
    wanted = min(len(queue), settings.num_sequences or len(queue))
    searches = _nextlong.Wave(store, job.core, queue[:wanted]).wanted()
    rows = np.concatenate([rows for _, rows in searches])
    k = int(np.median([depth for depth, found in searches for _ in range(len(found))]))
    with job.stage("index") as pool:
        search = Search.open(
            vectors,
            index=settings.index,
            expected_queries=len(rows),
            k=k,
            min_recall=settings.min_recall,
            groups=store.documents() if settings.exclude_same_doc else None,
            folder=job.run.work / "index",
            rows=rows,
            seed=settings.seed,
            pool=pool,
        )
    job.report(
        "retrieval",
        engine=search.engine,
        reason=search.reason,
        kernel=search.kernel,
        vectors=len(vectors),
        recall=search.recall,
        recall_at_k=k,
        widened=search.widened,
    )
    return search


def mine(
    job: Job,
    store: _nextlong.ChunkStore,
    vectors: _nextlong.Vectors,
    search: Search,
    queue: NDArray[np.uint32],
    tokenizer: Tokenizer,
    special: SpecialIds,
    separator: NDArray[np.uint32],
) -> _nextlong.Selector:
    """Finds and assigns the negatives; tokenizes what the sequences use, each chunk once.

    Waves of documents are searched and filtered on the pool's threads, ahead of one pass in the
    order of the documents that decides who takes what (`work/mine`, `work/tokens`).
    """
    settings, run = job.settings, job.run
    selector = _nextlong.Selector(
        job.core, bos=special.bos, eos=special.eos, separator=separator.tolist()
    )
    size = wave_size(settings.num_sequences)
    waves = [queue[start : start + size] for start in range(0, len(queue), size)]
    total = settings.num_sequences or len(queue)

    with job.stage("mine", total=total, unit="seq") as pool:
        halt = _nextlong.Watch()

        def fill(wave: _nextlong.Wave) -> None:
            for k, rows in wave.wanted():
                ids, scores = search.search(rows, k, watch=halt)
                wave.fill(store, vectors, job.core, rows, ids, scores, halt)

        def open_wave(item: tuple[int, NDArray[np.uint32]]) -> _nextlong.Wave:
            number, documents = item
            wave = _nextlong.Wave(store, job.core, documents)
            fill(wave)
            wave.write(run.part("mine", number, "arrow"))
            return wave

        last = 0
        try:
            for last, wave in enumerate(pool.in_order(open_wave, enumerate(waves))):
                while True:
                    chunks, deeper = selector.step(wave, store)
                    if deeper:
                        pool.call(partial(fill, wave))
                    if len(chunks):
                        _tokenize(pool, selector, store, tokenizer, chunks)
                    if not deeper and not len(chunks):
                        break
                before = len(selector)
                made = selector.finish(wave, run.part("tokens", last, "arrow"))
                for sequence, text, ids in selector.cuts(store, before):
                    selector.set_covered(sequence, tokenizer.covered(text, ids))
                pool.watch.add(made)
                run.mark("mine", last, [run.part("mine", last, "arrow")], sequences=made)
                if selector.finished:
                    break
        except BaseException:
            halt.cancel()
            raise
    # Waves that were searched ahead and not needed.
    for number in range(last + 1, len(waves)):
        run.part("mine", number, "arrow").unlink(missing_ok=True)
    tally = selector.tally()
    refused = tally.pop("refused")
    job.report("sequences", **{name: count for name, count in tally.items()})
    job.report("refused_neighbours", **refused)
    return selector


def wave_size(num_sequences: int | None) -> int:
    """Documents in a wave: enough queries to search together, few enough to waste none."""
    return 256 if num_sequences is None else min(max(num_sequences // 8, 16), 256)


def _tokenize(
    pool: Pool,
    selector: _nextlong.Selector,
    store: _nextlong.ChunkStore,
    tokenizer: Tokenizer,
    chunks: NDArray[np.uint32],
) -> None:
    pieces = np.array_split(chunks, max(1, min(pool.threads * 2, len(chunks) // 16)))
    if not tokenizer.threads_allowed:
        results = [tokenizer.encode_chunks(store, piece, None) for piece in pieces]
    else:
        results = pool.map(lambda piece: tokenizer.encode_chunks(store, piece, None), pieces)
    for piece, (values, offsets) in zip(pieces, results, strict=True):
        selector.supply(np.ascontiguousarray(piece), values, offsets)


def write(
    job: Job,
    store: _nextlong.ChunkStore,
    selector: _nextlong.Selector,
    metadata: str,
) -> list[dict[str, Any]]:
    """Assembles the sequences and writes them: `part-*.parquet`, with `metadata` in each."""
    settings, run = job.settings, job.run
    count = len(selector)
    rows = max(1, PART_TOKENS // settings.seq_len)
    with job.stage("write", total=count, unit="seq") as pool:

        def one(item: tuple[int, int]) -> dict[str, Any]:
            number, start = item
            path = run.output_part(number)
            sequences = selector.assemble(store, start, min(start + rows, count), pool.watch)
            written, size = _nextlong.write_parquet(path, sequences, metadata, None)
            run.mark("write", number, [path], rows=written, tokens=sequences.tokens)
            return {
                "name": path.name,
                "rows": written,
                "tokens": sequences.tokens,
                "bytes": size,
                "sha256": file_hash(path),
            }

        parts = zip(itertools.count(), range(0, count, rows))
        files = list(pool.in_order(one, parts))
    job.report(
        "sequences",
        tokens=sum(file["tokens"] for file in files),
        files=len(files),
        output_bytes=sum(file["bytes"] for file in files),
    )
    return files
