"""Encodes with the user's own Python tokenizer what the core cannot read: slower, the same rules.

In: a `tokenizers.Tokenizer` or a `transformers` tokenizer. Out: the surface of the core's tokenizer.
One thread calls it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong

__all__ = ["PythonEncoder"]

Rows = tuple[NDArray[np.uint32], NDArray[np.uint64]]
Spans = tuple[list[int], list[tuple[int, int]]]
"""The ids of a text, and the characters that each of them stands for."""

_BATCH = 256
_PROBES = ("a", "The cat", " sat", "  1", "\nnext", "\n\n", "\t", "é", "中文", "▁a", ".", "/a")


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
    ) -> None:
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
        self._newline = self._find_newline()

    @classmethod
    def of_tokenizers(cls, given: Any, reason: str) -> PythonEncoder:
        """Over a `tokenizers.Tokenizer`; the object itself is left as it is."""
        text = given.to_str()
        # A post-processor may move the ends of tokens, and has nothing else to do for a chunk.
        bare = json.dumps({**json.loads(text), "post_processor": None})
        chunk, plain = type(given).from_str(bare), type(given).from_str(text)
        for copy in (chunk, plain):
            copy.no_truncation()
            copy.no_padding()
        chunk.encode_special_tokens = True
        added = [
            (int(token["id"]), str(token["content"]), bool(token.get("special", False)))
            for token in json.loads(text).get("added_tokens") or []
        ]

        def encode_batch(texts: Sequence[str]) -> list[list[int]]:
            return [row.ids for row in chunk.encode_batch(list(texts), add_special_tokens=False)]

        def spans_batch(texts: Sequence[str]) -> list[Spans]:
            rows = chunk.encode_batch(list(texts), add_special_tokens=False)
            return [(row.ids, row.offsets) for row in rows]

        return cls(
            encode_batch=encode_batch,
            spans_batch=spans_batch,
            encode_plain=lambda text: list(plain.encode(text, add_special_tokens=False).ids),
            decode=lambda ids: str(plain.decode(ids, skip_special_tokens=False)),
            vocabulary=given.get_vocab(with_added_tokens=True),
            added=added,
            kind=_nextlong.border_kind(text),
            identity=text,
            notes=[f"encoded by the tokenizers package: {reason}"],
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
        return np.asarray(self._encode_plain(text), dtype=np.uint32)

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
        length = len(self._newline)
        before = "\n" if length else ""
        rows = self._spans_batch([before + text for text in texts])
        found = []
        for text, ids, (row, spans) in zip(texts, kept, rows, strict=True):
            shift = length
            if row[:length] != self._newline:
                # The newline went into the first token, so the text was encoded alone.
                ((row, spans),) = self._spans_batch([text])
                shift = 0
            if row[shift : shift + len(ids)] != ids:
                found.append(-1)
                continue
            places = [(start - bool(shift), end - bool(shift)) for start, end in spans[shift:]]
            found.append(_covered(text, places, len(ids)))
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
        if not self._newline:
            return self._decode(row)
        return self._decode(self._newline + row).removeprefix("\n")

    def token_to_id(self, token: str) -> int | None:
        """As the core's."""
        return self._ids.get(token)

    def id_to_token(self, id: int) -> str | None:
        """As the core's."""
        return self._tokens.get(id)

    def is_safe_border(self, left: str, right: str) -> bool:
        """As the core's."""
        return _nextlong.is_safe_border(self.kind, left, right)

    def _find_newline(self) -> list[int]:
        """The ids of a newline that stands before every chunk and is dropped; empty for none."""
        alone = self._encode_batch(_PROBES)
        newline, *behind = self._encode_batch(["\n", *("\n" + probe for probe in _PROBES)])
        if any(row[: len(newline)] != newline for row in behind):
            if self.kind == "newline":
                self.kind = "unknown"
            return []
        kept = [row[len(newline) :] for row in behind]
        return newline if kept != alone else []

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        if not self._newline:
            return [
                row if text else []
                for row, text in zip(self._encode_batch(texts), texts, strict=True)
            ]
        behind = self._encode_batch(["\n" + text for text in texts])
        length = len(self._newline)
        return [
            row[length:] if row[:length] == self._newline else self._encode_batch([text])[0]
            for row, text in zip(behind, texts, strict=True)
        ]


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
