"""Fits the embedder of a run, or opens it: `work/embed/model.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nextlong_rs import _nextlong
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.embed.resolve import StoreEmbedder, identity, open_embedder
from nextlong_rs.stage.context import Job
from nextlong_rs.stage.needs import WORDS, needs

__all__ = ["EMBED_SETTINGS", "Fitted", "fit"]

EMBED_SETTINGS = ("embedder", "dim", "seed", "idf_power", "fit_chunks", "boilerplate_share")
"""The settings that invalidate the model and the vectors; all that no list names invalidate `mine`."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The embedder of a run, ready for its chunks.

    Attributes:
        model: The embedder.
        depends: What the vectors depend on besides the model, by name.
        digest: The digest of the stage.
    """

    model: StoreEmbedder
    depends: Mapping[str, Any]
    digest: str


def fit(job: Job, store: _nextlong.ChunkStore, embedder: Any) -> Fitted:
    """Fit latent semantic analysis on the chunks, or open the embedder that is given."""
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
        digest = fits.finish(1)
    return Fitted(model, depends, digest)
