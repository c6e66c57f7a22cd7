"""Embedding with a user's function: called batch by batch, in order, on the main thread.

In: a function from a list of texts to an array. Out: checked rows of length 1, or `.npy` parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nextlong_rs import _nextlong
from nextlong_rs.embed.precomputed import checked_rows
from nextlong_rs.errors import EmbeddingError
from nextlong_rs.rules import checked

if TYPE_CHECKING:
    from nextlong_rs._nextlong import ChunkStore, Watch

__all__ = ["BATCH_TEXTS", "CallableEmbedder", "TextsToVectors", "encode_with"]

TextsToVectors = Callable[[list[str]], ArrayLike]
"""A function of the user's: a list of texts to an array `[texts, dim]`."""

BATCH_TEXTS = 1024
"""Texts in one call of the function, unless told otherwise."""


def encode_with(
    embedder: TextsToVectors,
    texts: Sequence[str],
    *,
    batch_texts: int = BATCH_TEXTS,
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
    batch_texts = _checked_batch(batch_texts)
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


class CallableEmbedder:
    """A function of the user's as the embedder of a run: called in order, on the main thread.

    Args:
        function: As in `encode_with`.
        batch_texts: Chunks in one call of it.

    Attributes:
        dim: Columns of the parts written so far; None before the first.
    """

    on_main_thread = True

    def __init__(self, function: TextsToVectors, *, batch_texts: int = BATCH_TEXTS) -> None:
        self._function = function
        self._batch_texts = _checked_batch(batch_texts)
        self.dim: int | None = None

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        watch: Watch | None = None,
    ) -> None:
        """Embed chunks of a store and write them as one float16 `.npy` part, whole or not at all.

        Args:
            store: The chunks of the corpus.
            start: The first chunk.
            stop: The chunk after the last one.
            path: The file.
            watch: Counts a unit for each chunk.

        Raises:
            EmbeddingError: As in `encode_with`, or the columns are not those of the parts before.
            OSError: The file cannot be written.
        """
        parts = []
        for low in range(start, stop, self._batch_texts):
            texts = store.texts(low, min(stop, low + self._batch_texts))
            part = encode_with(
                self._function, texts, batch_texts=self._batch_texts, first=low, watch=watch
            )
            self.dim = part.shape[1] if self.dim is None else self.dim
            if part.shape[1] != self.dim:
                raise EmbeddingError(
                    f"the embedder gave {part.shape[1]} columns for chunk {low}, "
                    f"{self.dim} before it"
                )
            parts.append(part)
        if self.dim is None:
            raise EmbeddingError(
                "cannot infer the embedding dimension from an empty range of chunks"
            )
        rows = np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)
        _nextlong.write_vectors(path, rows)


def _checked_batch(batch_texts: int) -> int:
    size: int = checked("batch_texts", batch_texts)
    return size
