"""Compares the core's encoder with the `tokenizers` package.

In: the core's tokenizer, and a function that makes the package's. Out: the package's encoder if the core
gives other ids, and the ids of texts that the core cannot encode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.errors import TokenizerError
from nextlong_rs.tokenize.encoder import Rows
from nextlong_rs.tokenize.python import PythonEncoder

__all__ = ["compared", "one_by_one"]


def compared(
    core: _nextlong.Tokenizer, make_package: Callable[[TokenizerError], PythonEncoder]
) -> tuple[PythonEncoder | None, list[str]]:
    """Compare the ids of the core with those of the package where they are not known to be equal.

    Args:
        core: The core's tokenizer, ready.
        make_package: Makes the encoder of the package, for the reason it is given.

    Returns:
        package, notes: The encoder of the package if it gives other ids, and what is worth knowing.
    """
    if core.unproven is None:
        return None, []
    try:
        package = make_package(TokenizerError(core.unproven))
    except TokenizerError as error:
        return None, [f"the ids are not compared with those of the tokenizers package: {error}"]
    for text in core.probes():
        if _ids(core, text) != _ids(package, text):
            package.notes[0] = (
                "encoded by the tokenizers package, which is slower: the fast encoder gives other "
                f"ids for {text[:40]!r} ({core.unproven})"
            )
            return package, []
    return None, []


def one_by_one(
    core: _nextlong.Tokenizer,
    package: PythonEncoder,
    texts: Sequence[str],
    watch: _nextlong.Watch | None,
    lock: Lock,
) -> Rows:
    """Encode texts after a call of the core failed on one of them: the failing ones by the package.

    Args:
        core: The core's tokenizer.
        package: The encoder of the package; one thread at a time calls it.
        texts: The texts.
        watch: Counts the texts that the failed call did not count.
        lock: Held while the package encodes.

    Raises:
        TokenizerError: The package fails too.
    """
    rows: list[NDArray[np.uint32]] = []
    failed: int | None = None
    for place, text in enumerate(texts):
        try:
            rows.append(core.encode_texts([text])[0])
        except TokenizerError:
            failed = place if failed is None else failed
            with lock:
                rows.append(package.encode_texts([text])[0])
    if watch is not None and failed is not None:
        # The failed call counted the texts before.
        watch.add(len(texts) - failed)
    offsets = np.zeros(len(rows) + 1, dtype=np.uint64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.concatenate([np.empty(0, dtype=np.uint32), *rows]), offsets


def _ids(encoder: _nextlong.Tokenizer | PythonEncoder, text: str) -> list[int] | None:
    """The ids of a text as a chunk; None if it cannot be encoded."""
    try:
        ids: list[int] = encoder.encode_texts([text])[0].tolist()
        return ids
    except TokenizerError:
        return None
