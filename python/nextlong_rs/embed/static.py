"""A model2vec folder with its own tokenizer: a text is the mean of the rows of its tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs._nextlong import ChunkStore, Watch
from nextlong_rs.rules import checked

__all__ = ["StaticModel"]


class StaticModel:
    """A model2vec folder with its own tokenizer."""

    def __init__(self, folder: Path, max_tokens: int | None) -> None:
        limit = checked("max_tokens", max_tokens)
        self._model = _nextlong.StaticModel(folder, limit)
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        self._tokenizer = _nextlong.Tokenizer(text)

    @property
    def dim(self) -> int:
        return self._model.dim

    def encode(self, texts: Sequence[str], watch: Watch | None = None) -> NDArray[np.float32]:
        return self._model.encode(self._tokenizer, texts, watch)

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        groups: str | os.PathLike[str] | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._model.embed_part(self._tokenizer, store, start, stop, path, watch)
