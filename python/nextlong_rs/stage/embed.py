"""The stages of a run up to the search: each takes what the one before it made and leaves files.

Every stage is cut into tasks whose borders are fixed by the plan, so that the files are the same
whatever the number of threads and the order in which tasks finish.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.corpus import inputs as corpora
from nextlong_rs.errors import CorpusError, RunError
from nextlong_rs.run.files import write_json
from nextlong_rs.run.memory import WORDS, needs
from nextlong_rs.run.tasks import fingerprint
from nextlong_rs.stage.recall import low_recall

if TYPE_CHECKING:
    from nextlong_rs.index.search import Search
    from nextlong_rs.synthesize import Job

__all__ = ["detected_groups", "embed", "index", "plan"]

EMBED_SETTINGS = ("embedder", "dim", "seed", "idf_power", "fit_chunks", "boilerplate_share")
"""What the files of a stage follow from; every setting that no list names belongs to mining."""

NEAREST = 10
"""Neighbours among which the check of the embedder looks for chunks of the same document."""


def embed(job: Job, store: _nextlong.ChunkStore, embedder: Any) -> _nextlong.Vectors:
    """Gives every chunk its vector: `work/embed/part-*.npy`, float16, a row a chunk."""
    from nextlong_rs.embed.embedder import Embedder
    from nextlong_rs.embed.resolve import identity, open_embedder

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
    sampled = None
    if settings.embedder == "lsa":
        sampled = len(_nextlong.embed_sample(len(store), settings.fit_chunks, settings.seed))
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
            boilerplate_share=settings.boilerplate_share,
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
            written = [paths[part]]
            if isinstance(model, Embedder) and model.groups:
                groups = run.groups_part(part)
                model.embed_part(store, start, stop, paths[part], groups, watch=pool.watch)
                written.append(groups)
            else:
                model.embed_part(store, start, stop, paths[part], watch=pool.watch)
            tasks.mark(part, written, chunks=stop - start)

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


def detected_groups(
    job: Job, store: _nextlong.ChunkStore
) -> tuple[list[str], NDArray[np.uint32]] | None:
    """The groups of texts that the LSA of the run tells apart: a name for each, and the number of its
    group for each chunk; None for other embedders."""
    from nextlong_rs.embed.embedder import Embedder

    if job.settings.embedder != "lsa":
        return None
    model = Embedder.load(job.run.work / "embed" / "model.safetensors")
    names = [name for name, _ in model.groups]
    parts = []
    for part in range(store.part_count):
        start, stop = store.part_chunks(part)
        path = job.run.groups_part(part)
        # `np.load` may raise anything on a damaged header.
        content = path.read_bytes()
        body = 10 + int.from_bytes(content[8:10], "little")
        if (
            not content.startswith(b"\x93NUMPY\x01\x00")
            or b"'descr': '<u2'" not in content[:body]
            or len(content) - body != 2 * (stop - start)
        ):
            raise RunError(
                f"{path}: damaged, expected {stop - start} uint16; delete it and run again"
            )
        numbers = np.frombuffer(content, "<u2", offset=body)
        if numbers.max(initial=0) >= len(names):
            raise RunError(f"{path}: damaged, group {numbers.max()} of {len(names)}")
        parts.append(numbers)
    return names, np.concatenate(parts).astype(np.uint32)


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
    """Builds the engine and measures how wide it has to search at each first depth."""
    from nextlong_rs.index.search import Search, choose

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
    builds = engine in ("clustered", "hnsw")
    if builds and tasks.count is None:
        held = sum(path.stat().st_size for path in folder.iterdir())
        job.run.check_disk("index", len(vectors) * vectors.dim - held)
    kept = job.budget.kept
    need = needs(settings, chunks=len(store), kept=kept)["index"]
    total = len(vectors) if builds else None
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
        for depth in sorted({depth for depth, _, _ in searches}):
            reached = search.measure(depth, pool)
            warning = low_recall(
                search.engine, reached, depth, settings.min_recall, copies=search.copies
            )
            if warning:
                job.run.say(warning)
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
    )
    # How wide deeper searches are follows from the sample, the settings and the vectors.
    job.digests["search"] = fingerprint([*search.identity, settings.min_recall])
    return search


def rounded(measured: str) -> dict[str, Any] | None:
    """Measured shares and means as the report shows them: four digits, the same everywhere."""
    facts: dict[str, Any] | None = json.loads(measured)
    return facts and {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in facts.items()
    }
