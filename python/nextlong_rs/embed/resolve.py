"""Resolves the `embedder` argument: its description, its fingerprint, and the object that embeds.

In: `"lsa"`, an `Embedder`, a path, an array or a function. Out: an object that writes the vectors of the
chunks of a store, part by part.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import partial
from pathlib import Path
from types import CellType, CodeType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.embed.function import CallableEmbedder
from nextlong_rs.embed.precomputed import ReadyVectors
from nextlong_rs.errors import ConfigError, EmbeddingError

if TYPE_CHECKING:
    from nextlong_rs._nextlong import ChunkStore, Watch
    from nextlong_rs.engine.pool import Pool

__all__ = ["StoreEmbedder", "describe", "identity", "open_embedder"]


def describe(embedder: Any) -> str:
    """Name an embedder in one line, as the settings of a run are saved.

    Args:
        embedder: What `synthesize` takes as its embedder.

    Returns:
        The string itself, the path, or the kind and name of an object.

    Raises:
        ConfigError: It is nothing that embeds.
    """
    if isinstance(embedder, str):
        return embedder
    if isinstance(embedder, os.PathLike):
        return str(os.fspath(embedder))
    if isinstance(embedder, Embedder):
        return repr(embedder)
    if isinstance(embedder, ReadyVectors):
        return f"vectors:{embedder.name}"
    if isinstance(embedder, np.ndarray):
        return f"vectors:array{embedder.shape}"
    if callable(embedder):
        kind = type(embedder)
        owner = embedder if hasattr(embedder, "__qualname__") else kind
        return f"callable:{owner.__module__}.{owner.__qualname__}"
    raise ConfigError(
        f"embedder is {embedder!r}; give 'lsa', an Embedder, the path of one, of a model2vec folder "
        "or of vectors (.npy), an array of vectors, or a function from a list of texts to an array"
    )


def identity(embedder: Any) -> Any:
    """What tells one embedder from another of the same description, as JSON can hold it.

    Files and folders are known by their sizes and times, arrays and models by their content. What
    is called is known by the code of its Python function and by the plain values (strings and
    numbers) that it refers to: closures and defaults, the attributes of its object, the arguments
    of a partial. What it refers to besides, the weights of a model for example, is not looked at; a
    function of compiled code is known by its name alone (`describe`).
    """
    if isinstance(embedder, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(embedder).tobytes()).hexdigest()
    if isinstance(embedder, Embedder):
        return embedder.hash
    if not isinstance(embedder, str | os.PathLike):
        return _code_hash(embedder)
    if embedder == "lsa":
        return None
    path = Path(embedder)
    file, colon, _ = os.fspath(embedder).rpartition(":")
    path = Path(file) if colon and not path.exists() else path
    inside = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [(one.name, one.stat()) for one in inside if one.is_file()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]


def _code_hash(called: Any) -> str | None:
    """A hash of the code behind `called`, with the functions inside it and its plain values; None
    where there is no Python code.
    """
    given: list[object] = []
    while isinstance(called, partial):
        keywords = sorted((name, _plain(one)) for name, one in called.keywords.items())
        given.append([[_plain(one) for one in called.args], keywords])
        called = called.func
    owner = getattr(called, "__self__", None)
    function = getattr(called, "__func__", called)
    if not isinstance(getattr(function, "__code__", None), CodeType):
        owner, function = called, getattr(type(called), "__call__", None)  # noqa: B004
    code = getattr(function, "__code__", None)
    if function is None or not isinstance(code, CodeType):
        return None
    # A class says nothing of its objects.
    state = {} if owner is None or isinstance(owner, type) else getattr(owner, "__dict__", {})
    own = sorted((name, _plain(one)) for name, one in state.items())
    cells = [_plain(_content(cell)) for cell in function.__closure__ or ()]
    defaults = [_plain(one) for one in function.__defaults__ or ()]
    named = sorted((name, _plain(one)) for name, one in (function.__kwdefaults__ or {}).items())
    found = repr([sys.version_info[:2], _parts(code), cells, defaults, named, own, given])
    return hashlib.sha256(found.encode("utf-8", "backslashreplace")).hexdigest()


def _plain(value: object) -> object:
    return value if isinstance(value, str | bytes | int | float | bool | None) else None


def _parts(code: CodeType) -> list[object]:
    constants = [
        _parts(one) if isinstance(one, CodeType) else _plain(one) for one in code.co_consts
    ]
    return [code.co_code.hex(), code.co_names, constants]


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


class StoreEmbedder(Protocol):
    """What gives the chunks of a store their vectors, part by part."""

    @property
    def on_main_thread(self) -> bool:
        """Whether parts are to be made one after another, on the main thread."""
        ...

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        *,
        watch: Watch | None = None,
    ) -> object:
        """Write the vectors of chunks `start` to before `stop` as one float16 part."""
        ...


def open_embedder(
    embedder: Any,
    store: ChunkStore,
    *,
    dim: int,
    seed: int,
    idf_power: float,
    fit_chunks: int,
    boilerplate_share: float,
    folder: Path,
    pool: Pool,
) -> StoreEmbedder:
    """Make the embedder of a run ready for its chunks.

    Args:
        embedder: `"lsa"`, an `Embedder`, the path of one, of a model2vec folder or of ready vectors
            (`.npy`, or `FILE.parquet:COLUMN`), an array, `ReadyVectors`, or a function from a list of texts to an array.
        store: The chunks of the corpus.
        dim: Of the LSA.
        seed: Of the LSA.
        idf_power: Of the LSA.
        fit_chunks: Chunks that the LSA is fitted on, at most.
        boilerplate_share: Of the LSA.
        folder: Where a fitted model is saved, as `model.safetensors`.
        pool: Its threads fit the model; Ctrl-C stops it.

    Returns:
        The embedder.

    Raises:
        ConfigError: `embedder` is nothing that embeds, or a setting is out of range.
        EmbeddingError: The model or the vectors cannot be read or used.
        OSError: A file cannot be written.
    """
    if isinstance(embedder, str) and embedder == "lsa":
        fitted = pool.call(
            lambda: Embedder.fit_store(
                store,
                dim=dim,
                seed=seed,
                idf_power=idf_power,
                sample=fit_chunks,
                boilerplate_share=boilerplate_share,
                threads=pool.threads,
                watch=pool.watch,
            )
        )
        folder.mkdir(parents=True, exist_ok=True)
        fitted.save(folder / "model.safetensors")
        return fitted
    if isinstance(embedder, str | os.PathLike):
        try:
            return _open_path(embedder, store)
        except OSError as error:
            raise EmbeddingError(f"embedder {os.fspath(embedder)!r}: {error}") from error
    if isinstance(embedder, np.ndarray):
        embedder = ReadyVectors(embedder)
    if isinstance(embedder, ReadyVectors):
        embedder.check(len(store))
        return embedder
    if isinstance(embedder, Embedder):
        return embedder
    describe(embedder)
    return CallableEmbedder(embedder)


def _open_path(embedder: str | os.PathLike[str], store: ChunkStore) -> StoreEmbedder:
    path = Path(embedder)
    file, colon, column = os.fspath(embedder).rpartition(":")
    if colon and file.endswith(".parquet"):
        vectors = ReadyVectors(file, column=column)
    elif path.suffix == ".npy":
        vectors = ReadyVectors(path)
    elif path.is_dir() and os.fspath(embedder):
        return Embedder.static(path)
    elif path.is_file():
        return Embedder.load(path)
    else:
        raise ConfigError(f"embedder is {str(embedder)!r}, which is neither 'lsa' nor a file")
    vectors.check(len(store))
    return vectors
