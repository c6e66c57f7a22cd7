"""Embedders: texts in, one vector of length 1 for each text out.

In: texts or a chunk store. Out: float32 rows, or a float16 `.npy` part aligned with the chunks.

The default is latent semantic analysis fitted on the corpus itself: nothing to download. A model2vec
folder, any function from a list of texts to an array, and ready vectors take its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nextlong_rs import _nextlong
from nextlong_rs._nextlong import Watch
from nextlong_rs.errors import ConfigError, EmbeddingError, MissingExtraError

if TYPE_CHECKING:
    from nextlong_rs._nextlong import ChunkStore

__all__ = ["Embedder", "TextsToVectors", "embed_part_with", "encode_with"]

TextsToVectors = Callable[[list[str]], ArrayLike]
"""A function of the user's: a list of texts to an array `[texts, dim]`."""

_SAMPLE_TEXTS = 50_000
_POWER_ITERATIONS = 2
_BATCH_TEXTS = 1024
_BATCH_CHARACTERS = 4_000_000
"""A batch takes about 50 ms, so Ctrl-C is heard."""

_Result = TypeVar("_Result")


class _Model(Protocol):
    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str], watch: Watch | None = None) -> NDArray[np.float32]: ...

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        watch: Watch | None = None,
    ) -> None: ...


class Embedder:
    """Turns texts into vectors of length 1; made by `fit`, `load` or `static`.

    A text without a word that the embedder knows gives the zero vector. The vectors are the same to
    the bit for any number of threads.

    Example:
        >>> texts = ["the cat sat on the mat", "a cat and a dog", "shares fell sharply today"]
        >>> embedder = Embedder.fit(texts, dim=2)
        >>> embedder.encode(["cat", "dog", ""]).shape
        (3, 2)
    """

    __slots__ = ("_model",)

    def __init__(self, model: _Model) -> None:
        self._model = model

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        *,
        dim: int = 256,
        seed: int = 0,
        idf_power: float = 1.5,
        sample: int = _SAMPLE_TEXTS,
        threads: int | None = None,
    ) -> Self:
        """Fit latent semantic analysis on texts: no download, no labels.

        Words (letters, digits and combining marks, lower-cased; in Chinese, Japanese, Thai, Lao,
        Khmer and Myanmar single characters and pairs) are hashed into 2^16 buckets, weighted by BM25
        (k1 1.2, b 0.75) and reduced by a randomized singular value decomposition.

        Args:
            texts: What is to be embedded, or a part of it.
            dim: Values of a vector, 1 to 4096. Where the texts have fewer directions than that, the
                last values are 0.
            seed: Of the hashing, the sample and the random start, 0 or more.
            idf_power: A word weighs its inverse document frequency to this power, 0 to 8.
            sample: Texts that are looked at, at most; drawn by the seed when there are more.
            threads: Threads to use; all processors by default. The model does not depend on it.

        Returns:
            The embedder.

        Raises:
            ConfigError: A setting is out of range.
            EmbeddingError: No text has a word.
        """
        texts = _as_list(texts)
        if sample < 1:
            raise ConfigError(f"sample ({sample}) must be at least 1")
        _check_seed(seed)
        if len(texts) > sample:
            texts = [
                texts[row] for row in _nextlong.embed_sample(len(texts), sample, seed).tolist()
            ]
        count = _thread_count(threads)
        return cls(
            _interruptible(
                lambda watch: _nextlong.LsaModel.fit(
                    texts, _positive("dim", dim), seed, idf_power, _POWER_ITERATIONS, count, watch
                )
            )
        )

    @classmethod
    def fit_store(
        cls,
        store: ChunkStore,
        *,
        dim: int = 256,
        seed: int = 0,
        idf_power: float = 1.5,
        sample: int = _SAMPLE_TEXTS,
        threads: int | None = None,
        watch: Watch | None = None,
    ) -> Self:
        """Fit on a seeded sample of the chunks of a store; no text crosses to Python.

        Args:
            store: The chunks of the corpus.
            dim: As in `fit`.
            seed: As in `fit`.
            idf_power: As in `fit`.
            sample: Chunks that are looked at, at most.
            threads: As in `fit`.
            watch: Counts a unit for each chunk of the sample; stops the call.

        Returns:
            The embedder.

        Raises:
            ConfigError: A setting is out of range.
            EmbeddingError: No chunk of the sample has a word.
        """
        _check_seed(seed)
        rows = _nextlong.embed_sample(len(store), _positive("sample", sample), seed)
        count = _thread_count(threads)
        dim = _positive("dim", dim)
        model = _nextlong.LsaModel.fit_store(
            store, rows, dim, seed, idf_power, _POWER_ITERATIONS, count, watch
        )
        return cls(model)

    @classmethod
    def static(cls, folder: str | os.PathLike[str], *, max_tokens: int | None = None) -> Self:
        """Use a model2vec folder: a text is the mean of the rows of its tokens.

        Args:
            folder: Holds `model.safetensors`, `tokenizer.json` and `config.json`.
            max_tokens: Only the first tokens of a text count, as many as this (model2vec's own
                default is 512); None for the whole text.

        Returns:
            The embedder.

        Raises:
            ConfigError: `max_tokens` is out of range.
            EmbeddingError: The files are damaged or do not fit together.
            MissingExtraError: The `tokenizers` package is missing.
            OSError: A file cannot be read.
        """
        return cls(_StaticModel(Path(folder), max_tokens))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a fitted embedder that `save` wrote.

        Args:
            path: The file.

        Returns:
            The embedder, which gives the same vectors as the saved one.

        Raises:
            EmbeddingError: The file is damaged or something else.
            OSError: The file cannot be read.
        """
        return cls(_nextlong.LsaModel.load(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a fitted embedder to one safetensors file, whole or not at all.

        Args:
            path: The file; an older one is replaced.

        Raises:
            EmbeddingError: The embedder is a model2vec folder, which is saved already.
            OSError: The file cannot be written.
        """
        if not isinstance(self._model, _nextlong.LsaModel):
            raise EmbeddingError("a static embedder is saved already: keep its folder")
        self._model.save(path)

    @property
    def dim(self) -> int:
        """Values of a vector."""
        return self._model.dim

    def encode(self, texts: Iterable[str], *, threads: int | None = None) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: The texts.
            threads: Threads to use; all processors by default.

        Returns:
            Rows of length 1, `[texts, dim]`, in the order of the texts; zeros for a text without a
            word that the embedder knows.
        """
        texts = _as_list(texts)
        rows = np.empty((len(texts), self.dim), dtype=np.float32)
        watch = Watch()

        def encode(span: tuple[int, int]) -> None:
            start, stop = span
            rows[start:stop] = self._model.encode(texts[start:stop], watch)

        with ThreadPoolExecutor(_thread_count(threads)) as pool:
            try:
                for _ in pool.map(encode, list(pairwise(_borders(texts)))):
                    pass
            except BaseException:
                watch.cancel()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return rows

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        *,
        watch: Watch | None = None,
    ) -> None:
        """Embed chunks of a store and write them as one float16 `.npy` part, whole or not at all.

        Args:
            store: The chunks of the corpus.
            start: The first chunk.
            stop: The chunk after the last one.
            path: The file.
            watch: Counts a unit for each chunk; stops the call.

        Raises:
            ConfigError: The store does not have these chunks.
            OSError: The file cannot be written.
        """
        self._model.embed_part(store, start, stop, path, watch)

    def __repr__(self) -> str:
        """Name the kind and the size."""
        kind = "lsa" if isinstance(self._model, _nextlong.LsaModel) else "static"
        return f"Embedder({kind}, dim={self.dim})"


def encode_with(
    embedder: TextsToVectors,
    texts: Sequence[str],
    *,
    batch_texts: int = _BATCH_TEXTS,
    first: int = 0,
    watch: Watch | None = None,
) -> NDArray[np.float32]:
    """Embed texts with a function of the user's, batch by batch, in order, on this thread.

    Args:
        embedder: From a list of texts to an array `[texts, dim]`, such as the `encode` of a
            sentence-transformers model.
        texts: The texts.
        batch_texts: Texts in one call of `embedder`.
        first: The number of the first text, for messages.
        watch: Counts a unit for each text.

    Returns:
        Rows of length 1, `[texts, dim]`; rows of zeros stay.

    Raises:
        ConfigError: `batch_texts` is below 1.
        EmbeddingError: The function failed, or gave another shape, another number of columns than
            before, no numbers, NaN or infinity.
    """
    batch_texts = _positive("batch_texts", batch_texts)
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), batch_texts):
        batch = list(texts[start : start + batch_texts])
        number = (first + start) // batch_texts
        name = f"batch {number} (texts {first + start} to {first + start + len(batch) - 1})"
        try:
            given = embedder(batch)
        except Exception as error:
            raise EmbeddingError(f"the embedder failed on {name}: {error!r}") from error
        part = checked_rows(
            given, rows=len(batch), name=f"the embedder's {name}", first=first + start
        )
        if parts and part.shape[1] != parts[0].shape[1]:
            raise EmbeddingError(
                f"the embedder's {name} has {part.shape[1]} columns, the batches before it "
                f"{parts[0].shape[1]}"
            )
        parts.append(part)
        if watch is not None:
            watch.add(len(batch))
    return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)


def embed_part_with(
    embedder: TextsToVectors,
    store: ChunkStore,
    start: int,
    stop: int,
    path: str | os.PathLike[str],
    *,
    batch_texts: int = _BATCH_TEXTS,
    dim: int | None = None,
    watch: Watch | None = None,
) -> int:
    """Embed chunks of a store with a function of the user's and write them as one `.npy` part.

    Args:
        embedder: As in `encode_with`.
        store: The chunks of the corpus.
        start: The first chunk.
        stop: The chunk after the last one.
        path: The file, float16, written whole or not at all.
        batch_texts: Chunks in one call of `embedder`.
        dim: Columns of the parts before this one; None for the first.
        watch: Counts a unit for each chunk.

    Returns:
        The number of columns.

    Raises:
        ConfigError: `batch_texts` is below 1.
        EmbeddingError: As in `encode_with`, or the part is empty or has other columns than `dim`.
        OSError: The file cannot be written.
    """
    batch_texts = _positive("batch_texts", batch_texts)
    parts = []
    for low in range(start, stop, batch_texts):
        texts = store.texts(low, min(stop, low + batch_texts))
        part = encode_with(embedder, texts, batch_texts=batch_texts, first=low, watch=watch)
        dim = part.shape[1] if dim is None else dim
        if part.shape[1] != dim:
            raise EmbeddingError(
                f"the embedder gave {part.shape[1]} columns for chunk {low}, {dim} before it"
            )
        parts.append(part)
    if dim is None:
        raise EmbeddingError(f"chunks {start} to {stop} are none: nothing says the dimensions")
    rows = np.concatenate(parts) if parts else np.empty((0, dim), dtype=np.float32)
    _nextlong.write_vectors(path, rows)
    return dim


def checked_rows(given: Any, *, rows: int, name: str, first: int = 0) -> NDArray[np.float32]:
    """Check that `given` is `[rows, dim]` finite numbers, and scale its rows to length 1.

    Args:
        given: An array, or what numpy makes one of.
        rows: The rows it must have.
        name: Of the array, for messages.
        first: The number of its first row, for messages.

    Returns:
        C-contiguous rows of length 1; rows of zeros stay.

    Raises:
        EmbeddingError: Another shape, another kind of value, NaN or infinity.
    """
    try:
        array = np.asarray(given)
    except Exception as error:
        kind = type(given).__name__
        raise EmbeddingError(
            f"{name} is a {kind}, which numpy makes no array of ({error}); give a numpy array"
        ) from error
    if array.dtype.kind not in "fiu":
        raise EmbeddingError(f"{name} has values of type {array.dtype}; give numbers")
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0:
        raise EmbeddingError(f"{name} has shape {array.shape}; it must be ({rows}, dim)")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise EmbeddingError(
            f"{name} holds {array[row, column]} in row {first + row}, column {column}; every value "
            "must be a finite number"
        )
    return _nextlong.normalise_rows(values)


class _StaticModel:
    """A model2vec folder with the tokenizer of the `tokenizers` package."""

    def __init__(self, folder: Path, max_tokens: int | None) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtraError(
                "a model2vec folder needs the tokenizers package: pip install 'nextlong_rs[hf]'"
            ) from error
        limit = None if max_tokens is None else _positive("max_tokens", max_tokens)
        self._model = _nextlong.StaticModel(folder, limit)
        path = folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise EmbeddingError(f"{path}: the tokenizer cannot be read: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    @property
    def dim(self) -> int:
        return self._model.dim

    def encode(self, texts: Sequence[str], watch: Watch | None = None) -> NDArray[np.float32]:
        limit = self._model.max_characters
        encodings = self._tokenizer.encode_batch_fast(
            [text[:limit] for text in texts], add_special_tokens=False
        )
        ids = [encoding.ids for encoding in encodings]
        offsets = np.zeros(len(ids) + 1, dtype=np.uint64)
        np.cumsum([len(row) for row in ids], out=offsets[1:])
        flat = np.fromiter((token for row in ids for token in row), np.uint32, int(offsets[-1]))
        return self._model.encode_ids(flat, offsets, watch)

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        watch: Watch | None = None,
    ) -> None:
        if not 0 <= start <= stop <= len(store):
            raise ConfigError(
                f"chunks {start} to {stop} were asked for, the store has {len(store)}"
            )
        rows = np.empty((stop - start, self.dim), dtype=np.float32)
        for low in range(start, stop, _BATCH_TEXTS):
            high = min(stop, low + _BATCH_TEXTS)
            rows[low - start : high - start] = self.encode(store.texts(low, high), watch)
        _nextlong.write_vectors(path, rows)


def _as_list(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise ConfigError("texts is one string; give a list of strings")
    return texts if isinstance(texts, list) else list(texts)


def _borders(texts: list[str]) -> list[int]:
    """Where batches begin and end: so many texts or so many characters."""
    borders = [0]
    characters = 0
    for number, text in enumerate(texts):
        if characters >= _BATCH_CHARACTERS or number - borders[-1] >= 4 * _BATCH_TEXTS:
            borders.append(number)
            characters = 0
        characters += len(text)
    borders.append(len(texts))
    return borders


def _interruptible(task: Callable[[Watch], _Result]) -> _Result:
    """Run `task` on another thread, so that Ctrl-C is heard here and stops it."""
    watch = Watch()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(task, watch)
        try:
            return future.result()
        except BaseException:
            watch.cancel()
            raise


def _thread_count(threads: int | None) -> int:
    if threads is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else (os.cpu_count() or 1)
        )
    return _positive("threads", threads)


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"{name} ({value}) must be at least 1")
    return value


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**64:
        raise ConfigError(f"seed ({seed}) must be from 0 to 2**64 - 1")
