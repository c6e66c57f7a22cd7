"""The stages of a run, left to right: each takes what the one before it made and leaves files.

Every stage is cut into tasks whose borders are fixed by the plan, so that the files are the same
whatever the number of threads and the order in which tasks finish.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs import corpus as corpora
from nextlong_rs.errors import CorpusError
from nextlong_rs.files import file_sha256, write_json, write_lines
from nextlong_rs.memory import PART_TOKENS, needs
from nextlong_rs.tasks import fingerprint

if TYPE_CHECKING:
    from nextlong_rs.index import Search
    from nextlong_rs.pipeline import Job
    from nextlong_rs.pool import Pool
    from nextlong_rs.settings import Settings
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

NEAREST = 10
"""Neighbours among which the check of the embedder looks for chunks of the same document."""


def corpus_config(settings: Settings) -> corpora.CorpusConfig:
    """What of the settings the corpus room takes."""
    return corpora.CorpusConfig(
        text_column=settings.text_column,
        id_column=settings.id_column,
        score_column=settings.score_column,
        max_document_bytes=settings.max_document_bytes,
        max_error_rate=settings.max_error_rate,
    )


def chunk(
    job: Job,
    listing: Sequence[corpora.Input],
    tokenizer: Tokenizer,
    sample: Iterable[corpora.Block] | None = None,
) -> _nextlong.ChunkStore:
    """Reads the corpus and cuts it: `work/chunks/part-*.arrow`, bad rows to quarantine.jsonl.

    A `sample` of blocks is cut in place of those of the whole corpus, for an estimate.
    """
    settings, run = job.settings, job.run
    config = corpus_config(settings)
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
    on_disk = sample is None and all(one.path is not None for one in listing)

    quarantine = run.work / "quarantine.jsonl"

    def list_bad_rows() -> None:
        bad = (run.output / file["name"] for marker in stored for file in marker["files"][1:])
        write_lines(quarantine, (path.read_bytes() for path in bad))

    def take(marker: dict[str, Any], pool: Pool) -> None:
        stored.append(marker)
        done = marker["file_bytes" if sizes else "documents"]
        # What of a compressed file is read again to find a block is counted once.
        pool.watch.add(min(done, sum(sizes) - pool.watch.done) if sizes else done)
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

    sizes = [one.size for one in listing if one.size is not None] if on_disk else []
    total, unit = (sum(sizes), "B") if sizes else (None, "doc")
    with job.stage("chunk", needs(settings)["chunk"], total=total, unit=unit) as pool:

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
                file_bytes=block.file_bytes,
                next=block.next,
                documents=documents,
                chunks=chunks,
                text_bytes=text_bytes,
                bad=parsed.bad_counts(),
            )

        for marker in pool.in_order(cut, enumerate(sample) if sample else blocks()):
            take(marker, pool)
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
    need = needs(settings, chunks=len(store))
    with job.stage("fit", need["fit" if settings.embedder == "lsa" else "embed"]) as pool:
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
    with job.stage("embed", need["embed"], total=len(store), unit="chunk") as pool:

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
    with job.stage("plan", needs(job.settings, chunks=len(store))["plan"]) as pool:
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
    # Documents that are surely too long are not searched for; one query stands in for none.
    searches = _nextlong.Wave(store, job.core, queue[:wanted]).wanted() or [(1, np.zeros(1, int))]
    rows = np.concatenate([rows for _, rows in searches])
    k = int(np.median([depth for depth, found in searches for _ in range(len(found))]))
    folder = job.run.work / "index"
    tasks = job.run.tasks(
        "index",
        **settings.named(("index", "min_recall", "seed")),
        **{"vectors hash": job.digests["vectors"]},
        version=job.version,
    )
    kept = job.budget.kept
    with job.stage("index", needs(settings, chunks=len(store), kept=kept)["index"]) as pool:
        search = Search.open(
            vectors,
            index=settings.index,
            expected_queries=len(rows),
            k=k,
            min_recall=settings.min_recall,
            groups=store.documents() if settings.exclude_same_doc else None,
            folder=folder,
            kept=kept,
            reuse=tasks.done(0) is not None,
            rows=rows,
            seed=settings.seed,
            pool=pool,
        )
        # Embeddings tell documents apart if a chunk's nearest are of its own document. Every
        # query is held against all vectors: a few dozen say enough.
        picked = _nextlong.recall_sample(settings.seed, len(rows), len(vectors), vectors.dim)
        own = pool.call(
            lambda: _nextlong.same_document(
                store,
                vectors,
                rows[picked[:: max(1, len(picked) // 64)]],
                NEAREST,
                pool.threads,
                pool.watch,
            )
        )
    tasks.mark(0, sorted(path for path in folder.iterdir() if path.suffix != ".tmp"))
    tasks.finish(1)
    job.report("embedding", same_document=_rounded(own))
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
    metadata: str,
) -> tuple[_nextlong.Selector, dict[int, Future[Written]]]:
    """Finds and assigns the negatives; tokenizes what the sequences use, each chunk once.

    Waves of documents are searched and filtered on the pool's threads, ahead of one pass in the
    order of the documents that decides who takes what (`work/mine`, `work/tokens`). Output files
    whose sequences are all decided are written meanwhile, under other names: `write` takes them.
    """
    settings, run = job.settings, job.run
    selector = _nextlong.Selector(
        job.core, bos=special.bos, eos=special.eos, separator=separator.tolist()
    )
    borders = wave_borders(len(queue), settings.num_sequences)
    waves = [queue[start:stop] for start, stop in itertools.pairwise(borders)]
    total = settings.num_sequences or len(queue)
    written: dict[int, Future[Written]] = {}
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

    need = needs(settings, chunks=len(store), sequences=total)["mine"]
    with job.stage("mine", need, total=total, unit="seq") as pool:
        halt = _nextlong.Watch()
        sketches = _nextlong.Sketches(job.core)

        def fill(wave: _nextlong.Wave) -> None:
            while wanted := wave.wanted():
                for k, rows in wanted:
                    ids, scores = search.search(rows, k, watch=halt)
                    wave.fill(store, vectors, job.core, rows, ids, scores, halt)

        def open_wave(number: int) -> _nextlong.Wave:
            wave = _nextlong.Wave(store, job.core, waves[number], sketches)
            fill(wave)
            wave.write(files(number)[0])
            return wave

        done = 0
        while done < len(waves) and not selector.finished and (marker := tasks.done(done)):
            _, pieces, ids = files(done)
            pool.watch.add(selector.restore(store, pieces, ids, json.dumps(marker["counts"])))
            done += 1
        under_way: deque[Future[_nextlong.Wave]] = deque()

        def look_ahead(first: int) -> None:
            """Opens the waves from `first` on: as many as threads, and none beyond the last needed."""
            wanted = total - len(selector)
            while first + len(under_way) < len(waves) and len(under_way) <= pool.threads:
                next_one = first + len(under_way)
                if borders[next_one] - borders[done] >= wanted:
                    return
                under_way.append(pool.submit(partial(open_wave, next_one)))

        def write_ahead() -> None:
            """Writes the output files whose sequences are all decided."""
            rows = part_rows(settings.seq_len)
            while (stop := (len(written) + 1) * rows) <= len(selector):
                path = run.part("select", len(written), "parquet.tmp")
                task = partial(_write_part, store, selector, stop - rows, stop, path, metadata)
                written[len(written)] = pool.submit(partial(task, halt))

        try:
            while done < len(waves) and not selector.finished:
                look_ahead(done)
                wave = pool.wait(under_way.popleft())
                look_ahead(done + 1)
                while True:
                    chunks, deeper = selector.step(wave, store)
                    if deeper:
                        pool.call(partial(fill, wave))
                    if len(chunks):
                        _tokenize(pool, selector, store, tokenizer, chunks)
                    if not deeper and not len(chunks):
                        break
                before = len(selector)
                made = selector.finish(wave, files(done)[2])
                for sequence, text, kept in selector.cuts(store, before):
                    selector.set_covered(sequence, tokenizer.covered(text, kept))
                selector.save(before, files(done)[1])
                pool.watch.add(made)
                counts = json.loads(selector.counts())
                tasks.mark(done, files(done), sequences=made, counts=counts)
                done += 1
                write_ahead()
        except BaseException:
            halt.cancel()
            raise
        for opened in under_way:
            opened.cancel()
    # Waves that were searched ahead and not needed.
    for number in range(done, len(waves)):
        files(number)[0].unlink(missing_ok=True)
    job.digests["sequences"] = tasks.finish(done)
    job.report("similarity", **(_rounded(selector.similarity(vectors)) or {}))
    tally = selector.tally()
    refused = tally.pop("refused")
    job.report("sequences", **{name: count for name, count in tally.items()})
    job.report("refused_neighbours", **refused)
    return selector, written


def _rounded(measured: str) -> dict[str, Any] | None:
    """Measured shares and means as the report shows them: four digits, the same everywhere."""
    facts: dict[str, Any] | None = json.loads(measured)
    return facts and {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in facts.items()
    }


def wave_borders(documents: int, num_sequences: int | None) -> list[int]:
    """Where the waves begin, and the end of the last.

    A wave has enough documents to search together and few enough to waste none: those that are
    tried only because others could not be sequences come in smaller ones.
    """
    size, wanted = 256, documents
    if num_sequences is not None:
        size = min(max(-(-num_sequences // 8), 16), 256)
        wanted = num_sequences
    borders = [0]
    while borders[-1] < documents:
        step = size if borders[-1] < wanted else max(size // 4, 16)
        borders.append(min(borders[-1] + step, documents))
    return borders


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


class Written(NamedTuple):
    """An output file, perhaps not yet under its name."""

    path: Path
    rows: int
    tokens: int
    sha256: str


def part_rows(seq_len: int) -> int:
    """Sequences in an output file."""
    return max(1, PART_TOKENS // seq_len)


def _write_part(
    store: _nextlong.ChunkStore,
    selector: _nextlong.Selector,
    start: int,
    stop: int,
    path: Path,
    metadata: str,
    watch: _nextlong.Watch,
) -> Written:
    rows, tokens, _ = selector.write_parquet(store, start, stop, path, metadata, watch)
    return Written(path, rows, tokens, file_sha256(path))


def write(
    job: Job,
    store: _nextlong.ChunkStore,
    selector: _nextlong.Selector,
    metadata: str,
    written: Mapping[int, Future[Written]],
) -> list[dict[str, Any]]:
    """Assembles the sequences and writes them: `part-*.parquet`, with `metadata` in each.

    What mining has `written` of them ahead only gets its name.
    """
    settings, run = job.settings, job.run
    count = len(selector)
    rows = part_rows(settings.seq_len)
    tasks = run.tasks(
        "write",
        **{"sequences hash": job.digests["sequences"], "settings hash": fingerprint(metadata)},
    )
    with job.stage("write", needs(settings)["write"], total=count, unit="seq") as pool:

        def one(item: tuple[int, int]) -> dict[str, Any]:
            number, start = item
            stop = min(start + rows, count)
            path = run.output_part(number)
            ahead = written.get(number)
            ready = None if ahead is None or ahead.cancelled() else ahead.result()
            marker = tasks.done(number)
            if marker is None:
                if ready is None:
                    ready = _write_part(store, selector, start, stop, path, metadata, pool.watch)
                else:
                    ready.path.replace(path)
                    pool.watch.add(stop - start)
                marker = tasks.mark(
                    number, [path], rows=ready.rows, tokens=ready.tokens, sha256=ready.sha256
                )
            else:
                pool.watch.add(stop - start)
                if ready is not None:
                    ready.path.unlink()
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
