"""Puts the documents in the order in which they are tried: `work/plan`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.corpus.inputs import Input, weights_of
from nextlong_rs.errors import CorpusError
from nextlong_rs.run.files import write_json
from nextlong_rs.stage.context import Job
from nextlong_rs.stage.needs import needs

__all__ = ["plan"]


def plan(job: Job, store: _nextlong.ChunkStore, listing: Sequence[Input]) -> NDArray[np.uint32]:
    """The documents to try, in their order: `work/plan/queue.json` counts them."""
    sources, weights = weights_of(listing)
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
