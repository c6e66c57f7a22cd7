"""The stages of a run up to the search: each takes what the one before it made and leaves files.

Every stage is cut into tasks whose borders are fixed by the plan, so that the files are the same
whatever the number of threads and the order in which tasks finish.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs import corpus as corpora
from nextlong_rs.errors import CorpusError
from nextlong_rs.files import write_json, write_lines
from nextlong_rs.memory import WORDS, needs
from nextlong_rs.tasks import fingerprint

if TYPE_CHECKING:
    from nextlong_rs.index import Search
    from nextlong_rs.pipeline import Job
    from nextlong_rs.pool import Pool
    from nextlong_rs.settings import Settings
    from nextlong_rs.tokenize import Tokenizer

__all__ = ["chunk", "embed", "index", "plan"]

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
    if tasks.count is None:
        # Of other files nobody knows how much of them is text.
        plain = [one.size or 0 for one in listing if one.kind == "text"]
        run.check_disk("chunk", sum(size for size in plain if size <= settings.max_document_bytes))
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
                            most_held=job.budget.line,
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
    from nextlong_rs.embed import Embedder
    from nextlong_rs.embedders import identity, open_embedder

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
    need_of_fit = need["fit" if settings.embedder == "lsa" else "embed"]
    sampled = min(settings.fit_chunks, len(store)) if settings.embedder == "lsa" else None
    fitted_before = fits.done(0) is not None
    if settings.embedder == "lsa" and not fitted_before:
        run.check_disk("fit", WORDS * (settings.dim + 4))
    with job.stage("fit", need_of_fit, total=sampled, unit="chunk") as pool:
        if fitted_before and settings.embedder == "lsa":
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
        if not fitted_before:
            fits.mark(0, [saved] if settings.embedder == "lsa" else [])
        fitted = fits.finish(1)
    tasks = run.tasks("embed", **depends, **{"model hash": fitted})
    paths = [run.part("embed", part, "npy") for part in range(store.part_count)]
    if settings.embedder == "lsa":
        held = sum(path.stat().st_size for path in paths if path.exists())
        run.check_disk("embed", len(store) * settings.dim * 2 - held)
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
    from nextlong_rs.index import Search, choose

    settings = job.settings
    wanted = min(len(queue), settings.num_sequences or len(queue))
    # Documents that are surely too long are not searched for; one query stands in for none.
    searches = _nextlong.Wave(store, job.core, queue[:wanted]).wanted() or [
        (1, np.zeros(1, int), False)
    ]
    rows = np.concatenate([rows for _, rows, _ in searches])
    k = int(np.median([depth for depth, found, _ in searches for _ in range(len(found))]))
    folder = job.run.work / "index"
    engine, _ = choose(settings.index, vectors, len(rows), k, settings.min_recall)
    # Shards and lists follow from the vectors alone; recall is measured anew.
    tasks = job.run.tasks(
        "index",
        engine=engine,
        seed=settings.seed,
        version=job.version,
        **{"vectors hash": job.digests["vectors"]},
    )
    if engine != "exact" and tasks.count is None:
        held = sum(path.stat().st_size for path in folder.iterdir())
        job.run.check_disk("index", len(vectors) * vectors.dim - held)
    kept = job.budget.kept
    need = needs(settings, chunks=len(store), kept=kept)["index"]
    total = None if engine == "exact" else len(vectors)
    with job.stage("index", need, total=total, unit="vector") as pool:
        search = Search.open(
            vectors,
            index=settings.index,
            expected_queries=len(rows),
            k=k,
            min_recall=settings.min_recall,
            groups=store.documents() if settings.exclude_same_doc else None,
            folder=folder,
            kept=kept,
            tasks=tasks,
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
    job.report("embedding", same_document=rounded(own))
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


def rounded(measured: str) -> dict[str, Any] | None:
    """Measured shares and means as the report shows them: four digits, the same everywhere."""
    facts: dict[str, Any] | None = json.loads(measured)
    return facts and {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in facts.items()
    }
