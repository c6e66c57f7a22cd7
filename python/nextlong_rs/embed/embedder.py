"""Embedders: texts in, one vector of length 1 for each text out.

In: texts or a chunk store. Out: float32 rows, or a float16 `.npy` part aligned with the chunks.

The default is latent semantic analysis fitted on the corpus itself: nothing to download. A model2vec
folder, a function from a list of texts to an array, or precomputed embeddings can replace it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs._nextlong import Watch
from nextlong_rs.embed.static import StaticModel
from nextlong_rs.engine.pool import Pool, thread_count
from nextlong_rs.engine.progress import Bar
from nextlong_rs.errors import ConfigError, EmbeddingError
from nextlong_rs.rules import checked

if TYPE_CHECKING:
    from nextlong_rs._nextlong import ChunkStore

__all__ = ["Embedder"]

_SAMPLE_TEXTS = 50_000
_BOILERPLATE_SHARE = 0.01
_BATCH_TEXTS = 4096
_BATCH_CHARACTERS = 4_000_000
"""A batch takes about 50 ms, so Ctrl-C is heard."""


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
        groups: str | os.PathLike[str] | None = None,
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

    on_main_thread = False

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
        boilerplate_share: float = _BOILERPLATE_SHARE,
        threads: int | None = None,
        progress: bool = False,
    ) -> Self:
        """Fit latent semantic analysis on texts: no download, no labels.

        Words (letters, digits and combining marks, lower-cased; in Chinese and Japanese single
        characters and pairs, in Thai, Lao, Khmer and Myanmar triples too) are hashed into 2^16 buckets, weighted by BM25
        (k1 1.2, b 0.75) and reduced by a randomized singular value decomposition.

        Texts that share their frequent words form a group: a language, a script, code beside prose.
        Each group has a decomposition of its own, with its own word frequencies, turned at random
        against those of the others, so that a language that is a small part of the texts keeps its
        distinctions. Two texts of one group (but the largest) have the cosine a + (1 - a) x their
        cosine within the group, where a = 4.8 / sqrt(dim), .3 for 256 dimensions, and at least .2 and
        at most .6; texts of different groups are close to orthogonal. Texts of one language form one
        group.

        Args:
            texts: What is to be embedded, or a part of it.
            dim: Values of a vector, 1 to 4096. Where the texts have fewer directions than that, the
                last values are 0.
            seed: Of the hashing, the sample and the random start, 0 or more.
            idf_power: A word weighs its inverse document frequency to this power, 0 to 8.
            sample: Texts that the decomposition is fitted on, at most; drawn by the seed when there
                are more. Small groups take more, out of four times as many.
            boilerplate_share: Lines that more than this share of the texts contain (and at least 8)
                are left out, here and in `encode`; 1 leaves out none.
            threads: Threads to use; all processors by default. The model does not depend on it.
            progress: Whether a bar is shown on stderr.

        Returns:
            The embedder.

        Raises:
            ConfigError: A setting is out of range.
            EmbeddingError: No text has a word.
        """
        texts = _as_list(texts)
        sample = checked("fit_chunks", sample, "sample")
        seed = checked("seed", seed)
        dim = checked("dim", dim)
        idf_power = checked("idf_power", idf_power)
        boilerplate_share = checked("boilerplate_share", boilerplate_share)
        rows = _nextlong.embed_sample(len(texts), sample, seed)
        if len(rows) < len(texts):
            texts = [texts[row] for row in rows.tolist()]
        with Bar("fit", None, unit="text", shown=progress) as bar, Pool(threads, bar=bar) as pool:
            with _naming_surrogates(texts):
                return cls(
                    pool.call(
                        lambda: _nextlong.LsaModel.fit(
                            texts,
                            dim,
                            seed,
                            idf_power,
                            sample,
                            boilerplate_share,
                            pool.threads,
                            pool.watch,
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
        boilerplate_share: float = _BOILERPLATE_SHARE,
        threads: int | None = None,
        watch: Watch | None = None,
    ) -> Self:
        """Fit on a seeded sample of the chunks of a store; no text crosses to Python.

        Args:
            store: The chunks of the corpus.
            dim: As in `fit`.
            seed: As in `fit`.
            idf_power: As in `fit`.
            sample: Chunks that the decomposition is fitted on, at most; see `fit`.
            boilerplate_share: As in `fit`, of the documents of the store.
            threads: As in `fit`.
            watch: Counts a unit for each chunk of the sample; stops the call.

        Returns:
            The embedder.

        Raises:
            ConfigError: A setting is out of range.
            EmbeddingError: No chunk of the sample has a word.
        """
        seed = checked("seed", seed)
        sample = checked("fit_chunks", sample, "sample")
        rows = _nextlong.embed_sample(len(store), sample, seed)
        count = thread_count(threads)
        dim = checked("dim", dim)
        idf_power = checked("idf_power", idf_power)
        boilerplate_share = checked("boilerplate_share", boilerplate_share)
        model = _nextlong.LsaModel.fit_store(
            store, rows, dim, seed, idf_power, sample, boilerplate_share, count, watch
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
            TokenizerError: The tokenizer cannot be read.
            OSError: A file cannot be read.
        """
        return cls(StaticModel(Path(folder), max_tokens))

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
        if os.path.isdir(path):
            raise EmbeddingError(
                f"{os.fspath(path)} is a folder, no saved embedder; Embedder.static() reads a "
                "model2vec folder"
            )
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

    def encode(
        self, texts: Iterable[str], *, threads: int | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Embed texts.

        Args:
            texts: The texts.
            threads: Threads to use; all processors by default.
            progress: Whether a bar is shown on stderr.

        Returns:
            Rows of length 1, `[texts, dim]`, in the order of the texts; zeros for a text without a
            word that the embedder knows.

        Raises:
            ConfigError: `texts` is no list of strings, or a string holds a lone surrogate.
        """
        texts = _as_list(texts)
        rows = np.empty((len(texts), self.dim), dtype=np.float32)
        with (
            Bar("encode", len(texts), unit="text", shown=progress) as bar,
            Pool(threads, bar=bar) as pool,
        ):

            def encode(span: tuple[int, int]) -> None:
                start, stop = span
                rows[start:stop] = self._model.encode(texts[start:stop], pool.watch)

            with _naming_surrogates(texts):
                for _ in pool.in_order(encode, pairwise(_borders(texts))):
                    pass
        return rows

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        groups: str | os.PathLike[str] | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Embed chunks of a store and write them as one float16 `.npy` part, whole or not at all.

        Args:
            store: The chunks of the corpus.
            start: The first chunk.
            stop: The chunk after the last one.
            path: The file.
            groups: A file for the number of each chunk's group in `groups`, uint16; None for none. A
                static model writes none.
            watch: Counts a unit for each chunk; stops the call.

        Raises:
            ConfigError: The store does not have these chunks.
            OSError: The file cannot be written.
        """
        self._model.embed_part(store, start, stop, path, groups, watch)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The groups of texts that a fitted model tells apart, the largest first: frequent words of
        the group, and the number of texts that it was fitted on; empty for a static model."""
        model = self._model
        return model.groups if isinstance(model, _nextlong.LsaModel) else []

    @property
    def hash(self) -> str:
        """A hash of what it makes of a few texts: it tells two models from each other."""
        probes = [
            "the and of to in",
            "water river boat",
            "def f(x): return x + 1",
            "天气很好",
            "a" * 9,
        ]
        return hashlib.sha256(self.encode(probes).tobytes()).hexdigest()

    def __repr__(self) -> str:
        """Name the kind and the size."""
        kind = "lsa" if isinstance(self._model, _nextlong.LsaModel) else "static"
        return f"Embedder({kind}, dim={self.dim})"


def _as_list(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise ConfigError("texts is one string; give a list of strings")
    texts = texts if isinstance(texts, list) else list(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ConfigError(f"text {number} is a {type(text).__name__}; give strings")
    return texts


@contextmanager
def _naming_surrogates(texts: list[str]) -> Iterator[None]:
    """Says which text holds what UTF-8 cannot."""
    try:
        yield
    except UnicodeEncodeError:
        for number, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ConfigError(
                    f"text {number} holds a lone surrogate at character {error.start}; drop it "
                    'with text.encode("utf-8", "ignore").decode()'
                ) from None
        raise


def _borders(texts: list[str]) -> list[int]:
    """Where batches begin and end: so many texts or so many characters."""
    borders = [0]
    characters = 0
    for number, text in enumerate(texts):
        if characters >= _BATCH_CHARACTERS or number - borders[-1] >= _BATCH_TEXTS:
            borders.append(number)
            characters = 0
        characters += len(text)
    borders.append(len(texts))
    return borders
