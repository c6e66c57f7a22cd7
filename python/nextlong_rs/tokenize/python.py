"""Encodes with a user's Python tokenizer what the core cannot read: slower, with the same rules.

In: a `tokenizers.Tokenizer` or a `transformers` tokenizer. Out: the interface of the core's tokenizer,
for one thread at a time.
"""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.errors import TokenizerError

__all__ = ["PythonEncoder"]

Rows = tuple[NDArray[np.uint32], NDArray[np.uint64]]
Spans = tuple[list[int], list[tuple[int, int]]]
"""The ids of a text, and the characters that each of them stands for."""

_BATCH = 256
_PROBES = ("a", "The cat", " sat", "  1", "\nnext", "\n\n", "\t", "é", "中文", "▁a", ".", "/a")
_OPENERS = ("\n", ".")
"""What may stand before a chunk to show its ids in the middle of a text, as in the core."""


class PythonEncoder:
    """The surface of `_nextlong.Tokenizer` over Python functions."""

    def __init__(
        self,
        *,
        encode_batch: Callable[[Sequence[str]], list[list[int]]],
        encode_plain: Callable[[str], list[int]],
        decode: Callable[[list[int]], str],
        spans_batch: Callable[[Sequence[str]], list[Spans]] | None = None,
        vocabulary: dict[str, int],
        added: list[tuple[int, str, bool]],
        kind: str,
        identity: str,
        notes: list[str],
        marks_the_start: bool | None = None,
    ) -> None:
        """Over functions.

        Args:
            encode_batch: Gives the ids of texts, special-token strings as text.
            encode_plain: Gives the ids of a text with the defaults.
            decode: Gives the text of ids.
            vocabulary: The ids of all tokens.
            added: The added tokens: id, text, whether special.
            kind: How cuts behave.
            identity: Tells this tokenizer from others.
            notes: What is worth knowing.
            marks_the_start: Whether something is put before a text; None if nobody knows.
        """
        self._encode_batch = encode_batch
        self._encode_plain = encode_plain
        self._decode = decode
        self._spans_batch = spans_batch
        self._lock = threading.Lock()
        self._ids = dict(vocabulary)
        self._ids.update({content: id for id, content, _ in added})
        self._tokens = {id: token for token, id in self._ids.items()}
        self.added = added
        self.kind = kind
        self.notes = notes
        self.hash = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
        self.vocab_size = max(self._tokens, default=-1) + 1
        self._openers = [] if marks_the_start is False else self._find_openers(marks_the_start)

    @classmethod
    def of_tokenizers(cls, given: Any, reason: str) -> PythonEncoder:
        """Over a `tokenizers.Tokenizer`; the object itself is left as it is."""
        return cls.of_text(given.to_str(), type(given), reason)

    @classmethod
    def of_text(cls, text: str, reader: Any, reason: str) -> PythonEncoder:
        """Over the class `tokenizers.Tokenizer`, as `reader`, of the text of a `tokenizer.json`.

        Raises:
            TokenizerError: Its ids are far above the number of its tokens, or it is none.
        """
        of_chunks, kind, marks_the_start, notes = _nextlong.chunk_file(text)
        chunk = reader.from_str(of_chunks)
        chunk.encode_special_tokens = True

        @cache
        def plain() -> Any:
            copy = reader.from_str(text)
            copy.no_truncation()
            copy.no_padding()
            return copy

        def encode_batch(texts: Sequence[str]) -> list[list[int]]:
            return [row.ids for row in chunk.encode_batch(list(texts), add_special_tokens=False)]

        def spans_batch(texts: Sequence[str]) -> list[Spans]:
            rows = chunk.encode_batch(list(texts), add_special_tokens=False)
            return [(row.ids, row.offsets) for row in rows]

        return cls(
            encode_batch=encode_batch,
            spans_batch=spans_batch,
            encode_plain=lambda text: list(plain().encode(text, add_special_tokens=False).ids),
            decode=lambda ids: str(chunk.decode(ids, skip_special_tokens=False)),
            vocabulary=chunk.get_vocab(with_added_tokens=True),
            added=[
                (int(id), str(token.content), bool(token.special))
                for id, token in sorted(chunk.get_added_tokens_decoder().items())
            ],
            kind=kind,
            identity=text,
            notes=[f"encoded by the tokenizers package, which is slower: {reason}", *notes],
            marks_the_start=marks_the_start,
        )

    @classmethod
    def of_transformers(cls, given: Any) -> PythonEncoder:
        """Over a slow `transformers` tokenizer."""

        def encode(text: str, *, as_text: bool) -> list[int]:
            encoded = given(
                text,
                add_special_tokens=False,
                split_special_tokens=as_text,
                truncation=False,
                padding=False,
                verbose=False,
            )
            return list(encoded["input_ids"])

        vocabulary = {str(token): int(id) for token, id in given.get_vocab().items()}
        special = set(getattr(given, "all_special_tokens", []))
        added = [
            (int(id), str(token), str(token) in special)
            for token, id in getattr(given, "get_added_vocab", dict)().items()
        ]
        listed = {content for _, content, _ in added}
        added += [
            (vocabulary[token], token, True)
            for token in sorted(special - listed)
            if token in vocabulary
        ]
        return cls(
            encode_batch=lambda texts: [encode(text, as_text=True) for text in texts],
            encode_plain=lambda text: encode(text, as_text=False),
            decode=lambda ids: str(
                given.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            ),
            vocabulary=vocabulary,
            added=sorted(added),
            kind="unknown",
            identity=json.dumps(sorted(vocabulary.items())),
            notes=["encoded by the transformers object, which is no fast tokenizer"],
        )

    def ready(self) -> None:
        """As the core's: there is nothing to wait for."""

    def encode_chunks(
        self,
        store: _nextlong.ChunkStore,
        chunks: NDArray[np.uint32] | NDArray[np.int64],
        watch: _nextlong.Watch | None = None,
    ) -> Rows:
        """As the core's."""
        texts = [store.texts(chunk, chunk + 1)[0] for chunk in chunks.tolist()]
        return self.encode_texts(texts, watch)

    def encode_texts(self, texts: Sequence[str], watch: _nextlong.Watch | None = None) -> Rows:
        """As the core's."""
        rows: list[NDArray[np.uint32]] = []
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            rows += [np.asarray(row, dtype=np.uint32) for row in self._rows(batch)]
            if watch is not None:
                watch.add(len(batch))
        offsets = np.zeros(len(rows) + 1, dtype=np.uint64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return np.concatenate([np.empty(0, dtype=np.uint32), *rows]), offsets

    def encode_plain(self, text: str) -> NDArray[np.uint32]:
        """As the core's."""
        rows = _guarded(lambda texts: [self._encode_plain(texts[0])], [text])
        return np.asarray(rows[0], dtype=np.uint32)

    def count(self, text: str) -> int:
        """As the core's; threads take turns."""
        with self._lock:
            return len(self._rows([text])[0])

    def characters_of(
        self, texts: Sequence[str], values: NDArray[np.uint32], offsets: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """As the core's."""
        ends = offsets.tolist()
        kept = [values[start:end].tolist() for start, end in pairwise(ends)]
        if self._spans_batch is None:
            found = [
                self._covered_by_prefix(text, ids) for text, ids in zip(texts, kept, strict=True)
            ]
            return np.array(found, dtype=np.int64)
        found = [-1] * len(texts)
        waiting = list(range(len(texts)))
        for opener, dropped in [*self._openers, ("", [])]:
            rows = self._spans_batch([opener + texts[place] for place in waiting])
            joined = []
            for place, (row, spans) in zip(waiting, rows, strict=True):
                length = len(dropped)
                if row[:length] != dropped:
                    # The opener went into the first token, so the text was encoded after another.
                    joined.append(place)
                elif row[length : length + len(kept[place])] == kept[place]:
                    shift = len(opener)
                    places = [(max(start - shift, 0), end - shift) for start, end in spans[length:]]
                    found[place] = _covered(texts[place], places, len(kept[place]))
            waiting = joined
        return np.array(found, dtype=np.int64)

    def _covered_by_prefix(self, text: str, ids: list[int]) -> int:
        """The characters of the longest prefix that has no ids but the first ones of the text."""
        if self._rows([text])[0] == ids:
            return len(text)
        places = range(len(text) + 1)
        fits = bisect_right(places, len(ids), key=lambda end: len(self._rows([text[:end]])[0])) - 1
        for end in range(fits, 0, -1):
            row = self._rows([text[:end]])[0]
            if row == ids[: len(row)]:
                return (
                    len(text[:end].rstrip()) if row == self._rows([text[:end].rstrip()])[0] else end
                )
        return 0

    def decode(self, ids: NDArray[np.uint32]) -> str:
        """As the core's."""
        row = [int(id) for id in ids]
        if not self._openers:
            return self._decode(row)
        dropped = self._openers[0][1]
        return self._decode(dropped + row).removeprefix(self._decode(dropped))

    def token_to_id(self, token: str) -> int | None:
        """As the core's."""
        return self._ids.get(token)

    def id_to_token(self, id: int) -> str | None:
        """As the core's."""
        return self._tokens.get(id)

    def is_safe_border(self, left: str, right: str) -> bool:
        """As the core's."""
        return _nextlong.is_safe_border(self.kind, left, right)

    def _find_openers(self, marks_the_start: bool | None) -> list[tuple[str, list[int]]]:
        """What can stand before a chunk, with the ids to drop; empty if it changes no chunk."""
        alone = self._encode_batch(_PROBES)
        newline, *after = self._encode_batch(["\n", *("\n" + probe for probe in _PROBES)])
        joins = any(row[: len(newline)] != newline for row in after)
        if joins and self.kind == "newline":
            self.kind = "unknown"
        if joins and marks_the_start is None:
            return []
        if not joins and [row[len(newline) :] for row in after] == alone:
            return []
        if joins:
            self.kind = "unknown"
        return list(zip(_OPENERS, self._encode_batch(_OPENERS), strict=True))

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts as chunks."""
        rows: list[list[int]] = [[] for _ in texts]
        waiting = [place for place, text in enumerate(texts) if text]
        for opener, dropped in self._openers:
            joined = []
            opened = _guarded(self._encode_batch, [opener + texts[place] for place in waiting])
            for place, row in zip(waiting, opened, strict=True):
                if row[: len(dropped)] == dropped:
                    rows[place] = row[len(dropped) :]
                else:
                    joined.append(place)
            waiting = joined
        alone = _guarded(self._encode_batch, [texts[place] for place in waiting])
        for place, row in zip(waiting, alone, strict=True):
            rows[place] = row
        return rows


def _guarded(
    encode: Callable[[Sequence[str]], list[list[int]]], texts: Sequence[str]
) -> list[list[int]]:
    """The ids of texts; whatever goes wrong with one is a TokenizerError that names it."""
    try:
        return encode(texts) if texts else []
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # A panic of the package is not an `Exception`.
        if len(texts) > 1:
            return [row for text in texts for row in _guarded(encode, [text])]
        raise TokenizerError(
            f"the text {texts[0][:40]!r}… cannot be encoded by the tokenizers package: {error}"
        ) from error


def _covered(text: str, spans: list[tuple[int, int]], kept: int) -> int:
    """How many characters the first `kept` tokens cover, of which these are the characters."""
    if kept == 0 or kept >= len(spans):
        return len(text) if kept else 0
    end = max(end for _, end in spans[:kept])
    covered = min(start for start, _ in spans[kept:])
    # White space between two tokens, in neither of them, is not covered.
    while covered > end and text[covered - 1].isspace():
        covered -= 1
    return covered
