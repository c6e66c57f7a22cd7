"""Which embedder a run uses: what the user named or passed in, opened for the chunks of the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nextlong_rs import _nextlong
from nextlong_rs.embed import Embedder, TextsToVectors, checked_rows, embed_part_with
from nextlong_rs.errors import ConfigError, EmbeddingError
from nextlong_rs.ready_vectors import ReadyVectors

if TYPE_CHECKING:
    from nextlong_rs.pool import Pool
    from nextlong_rs.settings import Settings

__all__ = ["ChunkEmbedder", "describe", "open_embedder"]


class ChunkEmbedder(Protocol):
    """Writes the vectors of a range of chunks as one part."""

    on_main_thread: bool
    """Whether it is called by the main thread alone, part after part."""

    def embed_part(
        self,
        store: _nextlong.ChunkStore,
        start: int,
        stop: int,
        path: Path,
        watch: _nextlong.Watch,
    ) -> None: ...


def describe(embedder: Any) -> str:
    """How the settings name an embedder.

    Raises:
        ConfigError: It is nothing that embeds.
    """
    if isinstance(embedder, str | os.PathLike):
        return os.fspath(embedder) if isinstance(embedder, str) else str(embedder)
    if isinstance(embedder, Embedder | ReadyVectors):
        return repr(embedder) if isinstance(embedder, Embedder) else "vectors"
    if isinstance(embedder, np.ndarray):
        return "vectors"
    if callable(embedder):
        name = getattr(embedder, "__qualname__", type(embedder).__qualname__)
        return f"callable {name}"
    raise ConfigError(
        f"embedder is a {type(embedder).__name__}, expected 'lsa', a path, an Embedder, a callable "
        "or an array"
    )


def open_embedder(
    embedder: Any, store: _nextlong.ChunkStore, settings: Settings, *, folder: Path, pool: Pool
) -> ChunkEmbedder:
    """Open the embedder; the default is fitted on a sample of the chunks and saved in `folder`.

    Raises:
        ConfigError: A path that is no embedder.
        EmbeddingError: Files that cannot be used, or vectors that are not one a chunk.
    """
    if isinstance(embedder, str) and embedder == "lsa":
        fitted = pool.call(
            lambda: Embedder.fit_store(
                store,
                dim=settings.dim,
                seed=settings.seed,
                idf_power=settings.idf_power,
                sample=settings.fit_chunks,
                threads=pool.threads,
                watch=pool.watch,
            )
        )
        fitted.save(folder / "model.safetensors")
        return _Fitted(fitted)
    if isinstance(embedder, str | os.PathLike):
        embedder = _of_path(os.fspath(embedder))
    if isinstance(embedder, Embedder):
        return _Fitted(embedder)
    if isinstance(embedder, ReadyVectors):
        embedder.check(len(store))
        return _Ready(embedder)
    if isinstance(embedder, np.ndarray):
        if embedder.shape[:1] != (len(store),):
            raise EmbeddingError(
                f"embedder has shape {embedder.shape}, the corpus {len(store)} chunks; make one "
                "vector for each chunk, in order"
            )
        return _Held(embedder)
    if callable(embedder):
        return _Called(embedder)
    raise ConfigError(f"embedder {embedder!r} must be passed in again: it was no file")


def _of_path(name: str) -> Embedder | ReadyVectors:
    path = Path(name)
    if path.is_dir():
        return Embedder.static(path)
    if path.suffix == ".npy":
        return ReadyVectors(path)
    file, colon, column = name.rpartition(":")
    if colon and file.endswith(".parquet"):
        return ReadyVectors(file, column=column)
    if not path.is_file():
        raise ConfigError(
            f"embedder is {name!r}, expected 'lsa', a model2vec folder, a saved embedder, an .npy "
            "file or FILE.parquet:COLUMN"
        )
    return Embedder.load(path)


class _Fitted:
    on_main_thread = False

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_part(
        self,
        store: _nextlong.ChunkStore,
        start: int,
        stop: int,
        path: Path,
        watch: _nextlong.Watch,
    ) -> None:
        self._embedder.embed_part(store, start, stop, path, watch=watch)


class _Ready:
    on_main_thread = True

    def __init__(self, vectors: ReadyVectors) -> None:
        self._vectors = vectors

    def embed_part(
        self,
        store: _nextlong.ChunkStore,
        start: int,
        stop: int,
        path: Path,
        watch: _nextlong.Watch,
    ) -> None:
        self._vectors.embed_part(start, stop, path)
        watch.add(stop - start)


class _Held:
    on_main_thread = True

    def __init__(self, vectors: np.ndarray[Any, Any]) -> None:
        self._vectors = vectors

    def embed_part(
        self,
        store: _nextlong.ChunkStore,
        start: int,
        stop: int,
        path: Path,
        watch: _nextlong.Watch,
    ) -> None:
        given = self._vectors[start:stop]
        rows = checked_rows(given, rows=stop - start, name="embedder", first=start)
        _nextlong.write_vectors(path, rows)
        watch.add(stop - start)


class _Called:
    on_main_thread = True

    def __init__(self, function: TextsToVectors) -> None:
        self._function = function
        self._dim: int | None = None

    def embed_part(
        self,
        store: _nextlong.ChunkStore,
        start: int,
        stop: int,
        path: Path,
        watch: _nextlong.Watch,
    ) -> None:
        self._dim = embed_part_with(
            self._function, store, start, stop, path, dim=self._dim, watch=watch
        )
