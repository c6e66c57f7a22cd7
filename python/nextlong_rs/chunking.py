"""Cut a document into chunks along its lines.

In: a text. Out: its chunks, or their spans in characters. Lossless by default: the chunks
joined give the text, and none is longer than the size. ``mode="paper"`` is the authors' rule
to the letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NoReturn

from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Mode", "Unit", "chunk", "chunk_spans"]

Mode = Literal["lossless", "paper"]
Unit = Literal["chars", "tokens"]


def chunk(
    text: str,
    *,
    size: int = 2048,
    unit: Unit = "chars",
    mode: Mode = "lossless",
    tokenizer: object = None,
) -> list[str]:
    r"""Cut a text into chunks of whole lines.

    A chunk takes lines as long as they fit, a blank line stays with the line before it, and a line
    that is longer than ``size`` is cut at sentences, then words, then characters.

    Args:
        text: The text of one document.
        size: The most characters (Unicode code points) or tokens a chunk holds. The paper's 2048
            was the best of 512 to 32,768 in its comparison (Gao et al., ICML 2025).
        unit: ``"chars"`` or ``"tokens"``.
        mode: ``"lossless"``: newlines count, nothing is lost, ``"".join(chunks) == text``.
            ``"paper"``: newlines between lines do not count, a long line is a chunk of its own, a
            chunk has no last newline, and empty lines before a long line can be dropped.
        tokenizer: What counts tokens, for ``unit="tokens"``.

    Returns:
        The chunks in order; none for an empty text (``[""]`` in the paper's mode).

    Raises:
        ConfigError: A size below 1, an unknown unit or mode, tokens without a tokenizer or in the
            paper's mode.
        CorpusError: The text holds a lone surrogate, so that it is no Unicode text.

    Example:
        >>> chunk("one\ntwo\n\nthree\n", size=9)
        ['one\ntwo\n\n', 'three\n']
        >>> chunk("It rained. We stayed at home.", size=20)
        ['It rained.', ' We stayed at home.']
    """
    counter = _counter(size, unit, mode, tokenizer)
    try:
        return _nextlong.chunk(text, size, mode, counter)
    except UnicodeEncodeError as error:
        _refuse_surrogate(error)


def chunk_spans(
    text: str,
    *,
    size: int = 2048,
    unit: Unit = "chars",
    mode: Mode = "lossless",
    tokenizer: object = None,
) -> NDArray[np.int64]:
    r"""Find where `chunk` cuts a text.

    Args:
        text: The text of one document.
        size: As in `chunk`.
        unit: As in `chunk`.
        mode: As in `chunk`.
        tokenizer: As in `chunk`.

    Returns:
        Characters ``[n, 2]``, int64: chunk ``i`` is ``text[spans[i, 0]:spans[i, 1]]``.

    Raises:
        ConfigError: As `chunk`.
        CorpusError: As `chunk`.

    Example:
        >>> chunk_spans("one\ntwo\n\nthree\n", size=9).tolist()
        [[0, 9], [9, 15]]
    """
    counter = _counter(size, unit, mode, tokenizer)
    try:
        return _nextlong.chunk_spans(text, size, mode, counter)
    except UnicodeEncodeError as error:
        _refuse_surrogate(error)


def _counter(size: int, unit: str, mode: str, tokenizer: object) -> _nextlong.Tokenizer | None:
    """Check the arguments; what counts tokens, for `unit="tokens"`."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size < 1 << 63:
        raise ConfigError(f"size ({size!r}) must be a whole number of at least 1, below 2**63")
    if unit not in ("chars", "tokens"):
        raise ConfigError(f'unit ({unit!r}) must be "chars" or "tokens"')
    if unit == "chars":
        if tokenizer is not None:
            raise ConfigError('tokenizer is only used with unit="tokens"')
        return None
    if mode == "paper":
        raise ConfigError('mode="paper" counts characters: use unit="chars", or mode="lossless"')
    if tokenizer is None:
        raise ConfigError('unit="tokens" needs tokenizer=, which counts the tokens')
    from nextlong_rs.tokenize import load

    return load(tokenizer).counter()


def _refuse_surrogate(error: UnicodeEncodeError) -> NoReturn:
    raise CorpusError(
        f"the text holds a lone surrogate at character {error.start}; "
        'drop it with text.encode("utf-8", "ignore").decode()'
    ) from None
