"""A cache of loaded tokenizers, for functions that get one at every call.

In: any tokenizer that `load` takes. Out: the loaded tokenizer; the one of an earlier call while the file
or object has not changed.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from os import PathLike
from pathlib import Path
from typing import Any

from nextlong_rs.tokenize.load import load
from nextlong_rs.tokenize.tokenizer import Tokenizer

__all__ = ["loaded"]

_CACHED = 4
_lock = threading.Lock()
_cache: OrderedDict[Hashable, tuple[Callable[[], Any], Tokenizer]] = OrderedDict()


def loaded(tokenizer: Any) -> Tokenizer:
    """Load a tokenizer, or give the one that an earlier call loaded.

    Args:
        tokenizer: As for `nextlong_rs.tokenize.load.load`. A file counts as the same while its path, size
            and time of change are; an object while it is the same object with as many tokens, so one
            that was changed in another way has to be loaded by `load`. The last four are kept, objects
            by weak references where they allow it.

    Returns:
        The tokenizer, ready to encode.

    Raises:
        TokenizerError: As `load`.
    """
    if isinstance(tokenizer, Tokenizer):
        return load(tokenizer)
    with _lock:
        key = _key(tokenizer)
        if key in _cache:
            same, found = _cache[key]
            if same() is not None:
                _cache.move_to_end(key)
                return found
        found = load(tokenizer)
        # Else it would hold the object that the cache is not to hold.
        found.remade_by = None
        if key is not None:
            _cache[key] = (_reference(tokenizer), found)
            while len(_cache) > _CACHED:
                _cache.popitem(last=False)
        return found


def _key(tokenizer: Any) -> Hashable:
    """What tells a tokenizer from another; None for what cannot be a tokenizer."""
    if isinstance(tokenizer, (str, PathLike)):
        path = Path(tokenizer)
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            found = file.stat()
        except OSError:
            return None
        return str(file.resolve()), found.st_mtime_ns, found.st_size
    try:
        tokens = len(tokenizer)
    except TypeError:
        count = getattr(tokenizer, "get_vocab_size", None)
        tokens = count() if count else 0
    return id(tokenizer), tokens


def _reference(tokenizer: Any) -> Callable[[], Any]:
    """What gives the tokenizer while it is alive; a path is never gone."""
    try:
        return weakref.ref(tokenizer)
    except TypeError:
        return lambda: tokenizer
