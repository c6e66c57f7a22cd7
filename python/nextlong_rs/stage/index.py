"""Builds the search engine of a run and measures how wide it has to search: `work/index`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.index.recall import low_recall
from nextlong_rs.index.search import Search, choose
from nextlong_rs.run.tasks import fingerprint
from nextlong_rs.stage.context import Job, rounded
from nextlong_rs.stage.needs import needs

__all__ = ["index"]

NEAREST = 10
"""Neighbours among which the check of the embedder looks for chunks of the same document."""


def index(
    job: Job,
    store: _nextlong.ChunkStore,
    vectors: _nextlong.Vectors,
    queue: NDArray[np.uint32],
) -> Search:
    """Builds the engine and measures how wide it has to search at each first depth."""
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
