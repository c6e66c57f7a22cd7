"""Gives every chunk its vector: `work/embed/part-*.npy`."""

from __future__ import annotations

from nextlong_rs import _nextlong
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.stage.context import Job
from nextlong_rs.stage.fit import Fitted
from nextlong_rs.stage.needs import needs

__all__ = ["embed"]


def embed(job: Job, store: _nextlong.ChunkStore, fitted: Fitted) -> _nextlong.Vectors:
    """Embed all chunks: float16, a row a chunk."""
    settings, run, model = job.settings, job.run, fitted.model
    tasks = run.tasks("embed", **fitted.depends, **{"model hash": fitted.digest})
    paths = [run.part("embed", part, "npy") for part in range(store.part_count)]
    if settings.embedder == "lsa":
        held = sum(path.stat().st_size for path in paths if path.exists())
        run.check_disk("embed", len(store) * settings.dim * 2 - held)
    with job.stage(
        "embed", needs(settings, chunks=len(store))["embed"], total=len(store), unit="chunk"
    ) as pool:

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
