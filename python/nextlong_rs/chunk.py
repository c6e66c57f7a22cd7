"""Cut documents into chunks along their lines.

In: texts. Out: their chunks, or the spans of these in characters. Lossless by default: the chunks
joined give the text, and none is longer than the size. ``mode="paper"`` is the authors' rule to the
letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool, thread_count
from nextlong_rs.errors import ConfigError, CorpusError
from nextlong_rs.rules import checked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Chunker", "Mode", "Unit", "chunk", "chunk_spans"]

Mode = Literal["lossless", "paper"]
Unit = Literal["chars", "tokens"]

_BATCH_CHARACTERS = 1 << 20
_BATCH_TEXTS = 1024
_LONG_CHARACTERS = 1 << 22


@dataclass(frozen=True, slots=True)
class Chunker:
    r"""Cuts texts into chunks of whole lines; keeps its settings and its tokenizer.

    A chunk takes lines as long as they fit, a blank line stays with the line before it, and a line
    that is longer than ``size`` is cut at sentences, then words, then characters. A chunker can be
    pickled if its tokenizer can: a path, a `tokenizers.Tokenizer`, a function of a module.

    Args:
        size: Maximum number of characters (Unicode code points) or tokens of a chunk. The paper's 2048
            was the best of 512 to 32,768 in its comparison (Gao et al., ICML 2025).
        unit: ``"chars"`` or ``"tokens"``.
        tokenizer: What counts tokens, for ``unit="tokens"``: the path of a `tokenizer.json`, a
            tokenizer object, or a function ``str -> int``. It is loaded once. A function is called by
            one thread, once for each distinct line and then for each chunk.
        mode: ``"lossless"``: newlines count, nothing is lost, ``"".join(chunks) == text``.
            ``"paper"``: newlines between lines do not count, a long line is a chunk of its own, a
            chunk has no last newline, and empty lines before a long line can be dropped.
        overlap: Maximum number of characters or tokens that a chunk shares with the one before it,
            less than ``size``: it begins with the last lines of that one, as many as fit, or, if the
            last line is longer, with its last sentences, words or grapheme clusters. New lines are
            never split to make room for it. Only in the lossless mode.

    Raises:
        ConfigError: A size below 1, an overlap that is not less than it, an unknown unit or mode,
            tokens without a tokenizer; tokens or an overlap in the paper's mode.
        TokenizerError: The tokenizer cannot be loaded.

    Example:
        >>> chunker = Chunker(size=16, overlap=8)
        >>> chunker.chunk("one\ntwo\nthree\nfour\nfive\n")
        ['one\ntwo\nthree\n', 'three\nfour\nfive\n']
        >>> chunker.spans("one\ntwo\nthree\nfour\nfive\n").tolist()
        [[0, 14], [8, 24]]
        >>> Chunker(size=2, unit="tokens", tokenizer=lambda text: len(text.split())).chunk("a b c")
        ['a b', ' c']
    """

    size: int = 2048
    unit: Unit = "chars"
    tokenizer: Any = field(default=None, repr=False)
    mode: Mode = "lossless"
    overlap: int = 0
    _counter: _nextlong.Tokenizer | Callable[[str], int] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", checked("chunk_size", self.size, "size"))
        object.__setattr__(self, "overlap", checked("overlap", self.overlap))
        checked("chunk_unit", self.unit, "unit")
        checked("chunk_mode", self.mode, "mode")
        _check_unit(self.unit, self.mode, self.tokenizer)
        # The core has the rules that settings keep together.
        _nextlong.chunk_texts([], self.size, self.mode, None, self.overlap)
        if self.unit == "tokens":
            object.__setattr__(self, "_counter", _counter_of(self.tokenizer))

    def __reduce__(self) -> tuple[Any, ...]:
        return Chunker, (self.size, self.unit, self.tokenizer, self.mode, self.overlap)

    def chunk(self, text: str) -> list[str]:
        """Cut a text.

        Args:
            text: The text of one document.

        Returns:
            The chunks in order; none for an empty text (``[""]`` in the paper's mode).

        Raises:
            CorpusError: The text holds a lone surrogate, so that it is not Unicode text.
            TokenizerError: A part of the text cannot be encoded.
        """
        if self._takes_long(text):
            with Pool(1) as pool:
                return pool.call(partial(self._cut, [text], pool.watch))[0]
        return self._cut([text])[0]

    def spans(self, text: str) -> NDArray[np.int64]:
        """Find where a text is cut.

        Args:
            text: The text of one document.

        Returns:
            Characters ``[n, 2]``, int64: chunk ``i`` is ``text[spans[i, 0]:spans[i, 1]]``.

        Raises:
            CorpusError: As `chunk`.
            TokenizerError: As `chunk`.
        """
        if self._takes_long(text):
            with Pool(1) as pool:
                return pool.call(partial(self._find, text, pool.watch))
        return self._find(text)

    def chunk_all(self, texts: Iterable[str], threads: int | None = None) -> list[list[str]]:
        r"""Cut many texts, on several threads and without the GIL.

        Args:
            texts: The texts of documents.
            threads: How many threads cut; None for one a core. The result does not depend on it. A
                tokenizer that is a Python object or function is called by one.

        Returns:
            The chunks of each text, as `chunk` gives them.

        Raises:
            ConfigError: `texts` is a single text, or `threads` is not a number of at least 1.
            CorpusError: As `chunk`.
            TokenizerError: As `chunk`.

        Example:
            >>> Chunker(size=4).chunk_all(["one\ntwo", "", "three"])
            [['one\n', 'two'], [], ['thre', 'e']]
        """
        if isinstance(texts, str):
            raise ConfigError(
                "invalid `texts`: a text, expected a list of texts; hint: use `chunk`"
            )
        threads = thread_count(threads)
        in_python = not (self._counter is None or isinstance(self._counter, _nextlong.Tokenizer))
        with Pool(1 if in_python else threads) as pool:

            def cut(batch: tuple[int, list[str]]) -> list[list[str]]:
                return self._cut(batch[1], pool.watch, first=batch[0])

            return [row for rows in pool.in_order(cut, _batches(texts)) for row in rows]

    def _cut(
        self, texts: list[str], watch: _nextlong.Watch | None = None, first: int | None = None
    ) -> list[list[str]]:
        try:
            return _nextlong.chunk_texts(
                texts, self.size, self.mode, self._counter, self.overlap, watch
            )
        except UnicodeEncodeError:
            for number, text in enumerate(texts):
                try:
                    text.encode()
                except UnicodeEncodeError as error:
                    name = "the text" if first is None else f"text {first + number}"
                    _refuse_surrogate(name, error)
            raise

    def _find(self, text: str, watch: _nextlong.Watch | None = None) -> NDArray[np.int64]:
        try:
            return _nextlong.chunk_spans(
                text, self.size, self.mode, self._counter, self.overlap, watch
            )
        except UnicodeEncodeError as error:
            _refuse_surrogate("the text", error)

    def _takes_long(self, text: str) -> bool:
        """Whether a text is cut on a thread of its own, so that Ctrl-C is heard."""
        return len(text) >= _LONG_CHARACTERS and isinstance(self._counter, _nextlong.Tokenizer)


def chunk(
    text: str,
    *,
    size: int = 2048,
    unit: Unit = "chars",
    mode: Mode = "lossless",
    tokenizer: Any = None,
    overlap: int = 0,
) -> list[str]:
    r"""Cut a text into chunks of whole lines; a `Chunker` that is used once.

    Args:
        text: The text of one document.
        size: As in `Chunker`.
        unit: As in `Chunker`.
        mode: As in `Chunker`.
        tokenizer: As in `Chunker`. A file or an object is loaded once: the last four are kept while
            they do not change.
        overlap: As in `Chunker`.

    Returns:
        The chunks in order; none for an empty text (``[""]`` in the paper's mode).

    Raises:
        ConfigError: As `Chunker`.
        CorpusError: The text holds a lone surrogate, so that it is not Unicode text.
        TokenizerError: The tokenizer cannot be loaded, or a part of the text cannot be encoded.

    Example:
        >>> chunk("one\ntwo\n\nthree\n", size=9)
        ['one\ntwo\n\n', 'three\n']
        >>> chunk("It rained. We stayed at home.", size=20)
        ['It rained.', ' We stayed at home.']
    """
    return _chunker(size, unit, tokenizer, mode, overlap).chunk(text)


def chunk_spans(
    text: str,
    *,
    size: int = 2048,
    unit: Unit = "chars",
    mode: Mode = "lossless",
    tokenizer: Any = None,
    overlap: int = 0,
) -> NDArray[np.int64]:
    r"""Find where `chunk` cuts a text.

    Args:
        text: The text of one document.
        size: As in `Chunker`.
        unit: As in `Chunker`.
        mode: As in `Chunker`.
        tokenizer: As in `chunk`.
        overlap: As in `Chunker`.

    Returns:
        Characters ``[n, 2]``, int64: chunk ``i`` is ``text[spans[i, 0]:spans[i, 1]]``.

    Raises:
        ConfigError: As `chunk`.
        CorpusError: As `chunk`.
        TokenizerError: As `chunk`.

    Example:
        >>> chunk_spans("one\ntwo\n\nthree\n", size=9).tolist()
        [[0, 9], [9, 15]]
    """
    return _chunker(size, unit, tokenizer, mode, overlap).spans(text)


def _chunker(size: int, unit: Unit, tokenizer: Any, mode: Mode, overlap: int) -> Chunker:
    if tokenizer is not None:
        return Chunker(size, unit, tokenizer, mode, overlap)
    try:
        return _by_characters(size, unit, mode, overlap)
    except TypeError:
        # Not hashable, so not a setting either.
        return Chunker(size, unit, None, mode, overlap)


@lru_cache(maxsize=16, typed=True)
def _by_characters(size: int, unit: Unit, mode: Mode, overlap: int) -> Chunker:
    return Chunker(size, unit, None, mode, overlap)


def _check_unit(unit: str, mode: str, tokenizer: object) -> None:
    """Check what belongs to the unit."""
    if unit == "chars":
        if tokenizer is not None:
            raise ConfigError('tokenizer is only used with unit="tokens"')
        return
    if mode == "paper":
        raise ConfigError('mode="paper" counts characters: use unit="chars", or mode="lossless"')
    if tokenizer is None:
        raise ConfigError('unit="tokens" needs tokenizer=, which counts the tokens')


def _counter_of(tokenizer: Any) -> _nextlong.Tokenizer | Callable[[str], int]:
    # Here, because counting characters needs neither these modules nor numpy.
    from nextlong_rs.tokenize.cache import loaded
    from nextlong_rs.tokenize.load import only_counts

    if only_counts(tokenizer):
        count: Callable[[str], int] = tokenizer
        return count
    return loaded(tokenizer).counter()


def _batches(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Groups of texts, each with the number of its first."""
    first, characters = 0, 0
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS or len(batch) == _BATCH_TEXTS:
            yield first, batch
            first, characters, batch = first + len(batch), 0, []
    if batch:
        yield first, batch


def _refuse_surrogate(name: str, error: UnicodeEncodeError) -> NoReturn:
    raise CorpusError(
        f"{name} holds a lone surrogate at character {error.start}; "
        'drop it with text.encode("utf-8", "ignore").decode()'
    ) from None
