"""The stages of a run, left to right: each takes what the one before it made and leaves files.

Every stage is cut into tasks whose borders are fixed by the plan, so that the files are the same
whatever the number of threads and the order in which tasks finish.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs import corpus as corpora
from nextlong_rs.errors import CorpusError
from nextlong_rs.files import file_sha256, write_json, write_lines
from nextlong_rs.tasks import fingerprint

if TYPE_CHECKING:
    from nextlong_rs.index import Search
    from nextlong_rs.pipeline import Job
    from nextlong_rs.pool import Pool
    from nextlong_rs.tokenize import SpecialIds, Tokenizer

__all__ = ["chunk", "embed", "index", "mine", "plan", "write"]

CHUNK_SETTINGS = (
    "text_column",
    "id_column",
    "score_column",
    "max_document_bytes",
    "chunk_size",
    "chunk_unit",
    "chunk_mode",
)
EMBED_SETTINGS = ("embedder", "dim", "seed", "idf_power", "fit_chunks")
"""What the files of a stage follow from; every setting that no list names belongs to mining."""

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
    by_tokens = settings.chunk_unit == "tokens"
    tasks = run.tasks(
        "chunk",
        **settings.named(CHUNK_SETTINGS),
        version=job.version,
        inputs=[corpora.describe(one) for one in listing],
        tokenizer=tokenizer.hash if by_tokens else None,
    )
    counter = tokenizer.counter() if by_tokens else None
    reasons: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    stored: list[dict[str, Any]] = []
    # What an iterable gives cannot be known without asking it, so it is always cut again.
    on_disk = all(one.path is not None for one in listing)

    quarantine = run.work / "quarantine.jsonl"

    def list_bad_rows() -> None:
        bad = (run.output / file["name"] for marker in stored for file in marker["files"][1:])
        write_lines(quarantine, (path.read_bytes() for path in bad))

    def take(marker: dict[str, Any]) -> None:
        stored.append(marker)
        totals.update({name: marker[name] for name in ("documents", "chunks", "text_bytes")})
        reasons.update(marker["bad"])
        judge()

    def judge(*, at_end: bool = False) -> None:
        rows = totals["documents"] + reasons.total()
        try:
            corpora.check_error_rate(rows, reasons, config, quarantine=quarantine, at_end=at_end)
        except CorpusError:
            list_bad_rows()
            raise

    with job.stage("chunk", unit="doc") as pool:

        def blocks() -> Iterator[tuple[int, corpora.Block | None]]:
            """The blocks, none for one whose task is done; each is read from where it begins."""
            place, reading, count = (0, 0, 0), None, tasks.count
            for number in itertools.count():
                marker = tasks.done(number) if on_disk else None
                if marker is not None:
                    place, reading = marker["next"], None
                    yield number, None
                elif reading is None and on_disk and number == count:
                    return
                else:
                    if reading is None:
                        first, row, at = place
                        rest = [one for one in listing if one.number >= first]
                        reading = corpora.read_blocks(
                            rest,
                            config,
                            block_bytes=corpora.BLOCK_BYTES,
                            start=(row, at),
                            watch=pool.watch,
                        )
                    block = next(reading, None)
                    if block is None:
                        return
                    place = block.next
                    yield number, block

        def cut(item: tuple[int, corpora.Block | None]) -> dict[str, Any]:
            number, block = item
            if block is None:
                return tasks.made(number)
            parsed = block.parse(pool.watch)
            part = run.part("chunks", number, "arrow")
            documents, chunks, text_bytes = _nextlong.chunk_part(
                parsed,
                part,
                mode=settings.chunk_mode,
                size=settings.chunk_size,
                counter=counter,
                watch=pool.watch,
            )
            paths = [part]
            if parsed.bad_count:
                paths.append(run.part("chunks", number, "quarantine.jsonl"))
                write_lines(paths[1], [parsed.quarantine()])
            return tasks.mark(
                number,
                paths,
                next=block.next,
                documents=documents,
                chunks=chunks,
                text_bytes=text_bytes,
                bad=parsed.bad_counts(),
            )

        for marker in pool.in_order(cut, blocks()):
            take(marker)
        digest = tasks.finish(len(stored))
        list_bad_rows()
    judge(at_end=True)
    job.report(
        "corpus",
        inputs=len(listing),
        documents=totals["documents"],
        text_bytes=totals["text_bytes"],
        quarantined=reasons.total(),
        quarantined_by_reason=dict(sorted(reasons.items())),
        chunks=totals["chunks"],
    )
    if totals["chunks"] == 0:
        raise CorpusError(
            f"the corpus has no usable text: {totals['documents']} documents, {reasons.total()} "
            f"rows in {quarantine}"
        )
    job.digests["chunks"] = digest
    return _nextlong.ChunkStore(
        [run.output / marker["files"][0]["name"] for marker in stored if marker["chunks"]]
    )


def embed(job: Job, store: _nextlong.ChunkStore, embedder: Any) -> _nextlong.Vectors:
    """Gives every chunk its vector: `work/embed/part-*.npy`, float16, a row a chunk."""
    from nextlong_rs.embed import Embedder, identity, open_embedder

    settings, run = job.settings, job.run
    depends = {
        **settings.named(EMBED_SETTINGS),
        "version": job.version,
        "chunks hash": job.digests["chunks"],
        "embedder hash": identity(embedder),
    }
    fits = run.tasks("fit", **depends)
    saved = run.work / "embed" / "model.safetensors"
    with job.stage("fit") as pool:
        if fits.done(0) and saved.exists():
            embedder = Embedder.load(saved)
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
        if not fits.done(0):
            fits.mark(0, [saved] if settings.embedder == "lsa" else [])
        fitted = fits.finish(1)
    tasks = run.tasks("embed", **depends, **{"model hash": fitted})
    paths = [run.part("embed", part, "npy") for part in range(store.part_count)]
    with job.stage("embed", total=len(store), unit="chunk") as pool:

        def one(part: int) -> None:
            start, stop = store.part_chunks(part)
            if tasks.done(part):
                pool.watch.add(stop - start)
                return
            model.embed_part(store, start, stop, paths[part], watch=pool.watch)
            tasks.mark(part, [paths[part]], chunks=stop - start)

        if model.on_main_thread:
            for part in range(store.part_count):
                one(part)
                pool.show()
        else:
            for _ in pool.in_order(one, range(store.part_count)):
                pass
        job.digests["vectors"] = tasks.finish(store.part_count)
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
            + (
                f" and a {job.settings.score_column} above 0 (score_column)"
                if job.settings.score_column
                else ""
            )
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
    folder = job.run.work / "index"
    tasks = job.run.tasks(
        "index",
        **settings.named(("index", "min_recall", "seed")),
        **{"vectors hash": job.digests["vectors"]},
        version=job.version,
    )
    with job.stage("index") as pool:
        search = Search.open(
            vectors,
            index=settings.index,
            expected_queries=len(rows),
            k=k,
            min_recall=settings.min_recall,
            groups=store.documents() if settings.exclude_same_doc else None,
            folder=folder,
            reuse=tasks.done(0) is not None,
            rows=rows,
            seed=settings.seed,
            pool=pool,
        )
    tasks.mark(0, sorted(path for path in folder.iterdir() if path.suffix != ".tmp"))
    tasks.finish(1)
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
    job.digests["search"] = fingerprint([search.engine, search.reason, search.recall, k])
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
    earlier = {*CHUNK_SETTINGS, *EMBED_SETTINGS} - {"seed"}
    tasks = run.tasks(
        "mine",
        **{name: value for name, value in settings.to_dict().items() if name not in earlier},
        **{f"{name} hash": job.digests[name] for name in ("chunks", "vectors", "search")},
        **{"tokenizer hash": tokenizer.hash, "documents hash": fingerprint(queue.tolist())},
        version=job.version,
        special=[special.bos, special.eos, separator.tolist()],
    )

    def files(number: int) -> list[Path]:
        return [run.part(folder, number, "arrow") for folder in ("mine", "select", "tokens")]

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
            wave.write(files(number)[0])
            return wave

        done = 0
        while done < len(waves) and not selector.finished and (marker := tasks.done(done)):
            _, pieces, ids = files(done)
            pool.watch.add(selector.restore(store, pieces, ids, json.dumps(marker["counts"])))
            done += 1
        rest = [] if selector.finished else list(enumerate(waves))[done:]
        opened = pool.in_order(open_wave, rest)
        try:
            for number, wave in zip(itertools.count(done), opened):
                while True:
                    chunks, deeper = selector.step(wave, store)
                    if deeper:
                        pool.call(partial(fill, wave))
                    if len(chunks):
                        _tokenize(pool, selector, store, tokenizer, chunks)
                    if not deeper and not len(chunks):
                        break
                before = len(selector)
                made = selector.finish(wave, files(number)[2])
                for sequence, text, kept in selector.cuts(store, before):
                    selector.set_covered(sequence, tokenizer.covered(text, kept))
                selector.save(before, files(number)[1])
                pool.watch.add(made)
                counts = json.loads(selector.counts())
                tasks.mark(number, files(number), sequences=made, counts=counts)
                done = number + 1
                if selector.finished:
                    break
        except BaseException:
            halt.cancel()
            raise
    # Waves that were searched ahead and not needed.
    for number in range(done, len(waves)):
        files(number)[0].unlink(missing_ok=True)
    job.digests["sequences"] = tasks.finish(done)
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
    tasks = run.tasks(
        "write",
        **{"sequences hash": job.digests["sequences"], "settings hash": fingerprint(metadata)},
    )
    with job.stage("write", total=count, unit="seq") as pool:

        def one(item: tuple[int, int]) -> dict[str, Any]:
            number, start = item
            stop = min(start + rows, count)
            path = run.output_part(number)
            marker = tasks.done(number)
            if marker is not None:
                pool.watch.add(stop - start)
            else:
                sequences = selector.assemble(store, start, stop, pool.watch)
                written, _ = _nextlong.write_parquet(path, sequences, metadata, None)
                tokens, digest = sequences.tokens, file_sha256(path)
                marker = tasks.mark(number, [path], rows=written, tokens=tokens, sha256=digest)
            return {
                "name": path.name,
                "rows": marker["rows"],
                "tokens": marker["tokens"],
                "bytes": marker["files"][0]["bytes"],
                "sha256": marker["sha256"],
            }

        parts = zip(itertools.count(), range(0, count, rows))
        files = list(pool.in_order(one, parts))
        tasks.finish(len(files))
    names = {file["name"] for file in files}
    for stray in run.output.glob("part-*.parquet"):
        if stray.name not in names:
            stray.unlink()
    job.report(
        "sequences",
        tokens=sum(file["tokens"] for file in files),
        files=len(files),
        output_bytes=sum(file["bytes"] for file in files),
    )
    return files
