"""Tokenizers of any kind behind one class.

In: an encoder of the core or of Python. Out: the ids of chunks in the middle of a sequence, and the ids
of BOS, EOS and the separator that are put around them.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError, TokenizerError
from nextlong_rs.tokenize.encoder import Encoder, Rows
from nextlong_rs.tokenize.parity import compared, one_by_one
from nextlong_rs.tokenize.python import PythonEncoder
from nextlong_rs.tokenize.special import (
    BOS_NAMES,
    EOS_NAMES,
    SpecialIds,
)

__all__ = ["Tokenizer"]


class Tokenizer:
    """Encodes chunks; made by `load`.

    The ids of a chunk are those it has in the middle of a sequence: no BOS or EOS, no truncation or
    padding, no dummy space, and special-token strings in the text are ordinary text.

    Attributes:
        encoder: What does the work, once it is ready; give it to threads only if `threads_allowed`.
        name: Where the tokenizer came from, for messages and the manifest.
        remade_by: The function and arguments that give the same tokenizer in another process; None
            if it cannot be pickled.
    """

    remade_by: tuple[Callable[..., Tokenizer], tuple[Any, ...]] | None

    def __init__(
        self,
        encoder: Encoder,
        *,
        name: str,
        declared: Mapping[str, int | None],
        instead: Callable[[TokenizerError], PythonEncoder] | None = None,
    ) -> None:
        """Of an encoder, and of what makes another where the core's cannot read the file."""
        self.encoder = encoder
        self.name = name
        self._declared = dict(declared)
        self._instead = instead
        self._is_ready = instead is None
        self._notes: list[str] = []
        self._fallback: PythonEncoder | None = None
        self._lock = threading.Lock()
        self.remade_by = None
        # What a run records of its tokenizer does not wait for the encoder.
        self._hash = encoder.hash

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r}, vocab_size={self.vocab_size}, kind={self.kind!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.remade_by is None:
            raise TypeError(f"cannot pickle {self!r}: it was not made by `load`")
        return self.remade_by

    @property
    def threads_allowed(self) -> bool:
        """False if the encoder is a Python object that must be called by one thread."""
        return isinstance(self._made, _nextlong.Tokenizer)

    def ready(self) -> None:
        """Make the encoder's tables, which `load(…, lazy=True)` leaves to the first need of them.

        Where the ids of the core are not known to be those of the `tokenizers` package, they are
        compared on some texts, and the package encodes if they differ.

        Raises:
            TokenizerError: Nothing can read the tokenizer.
        """
        with self._lock:
            if self._is_ready:
                return
            assert self._instead is not None
            try:
                self.encoder.ready()
            except TokenizerError as error:
                self.encoder = self._instead(error)
            else:
                self._compare()
            self._is_ready = True

    def _compare(self) -> None:
        """Puts the package in the place of a core that gives other ids."""
        if isinstance(self.encoder, _nextlong.Tokenizer) and self._instead is not None:
            package, self._notes = compared(self.encoder, self._instead)
            if package is not None:
                self.encoder = package

    @property
    def _made(self) -> Encoder:
        self.ready()
        return self.encoder

    def encode_chunks(
        self,
        store: _nextlong.ChunkStore,
        chunks: NDArray[np.uint32] | NDArray[np.int64],
        watch: _nextlong.Watch | None = None,
    ) -> Rows:
        """Encode chunks of a store; without the GIL and on the calling thread.

        Args:
            store: The chunks.
            chunks: Their numbers, in any order, repeats allowed; about 1,000 a call work best.
            watch: Counts the chunks done and can stop the call.

        Returns:
            values, offsets: Row i is `values[offsets[i]:offsets[i + 1]]`.

        Raises:
            ConfigError: A number is not that of a chunk.
            TokenizerError: A text cannot be encoded.
        """
        try:
            return self._made.encode_chunks(store, chunks, watch)
        except TokenizerError as error:
            texts = [store.texts(chunk, chunk + 1)[0] for chunk in chunks.tolist()]
            return self._one_by_one(texts, watch, error)

    def encode_texts(self, texts: Sequence[str], watch: _nextlong.Watch | None = None) -> Rows:
        """Encode texts, each as a chunk; values and offsets as `encode_chunks` gives them."""
        try:
            return self._made.encode_texts(texts, watch)
        except TokenizerError as error:
            return self._one_by_one(texts, watch, error)

    def encode(self, text: str) -> NDArray[np.uint32]:
        """The ids of one text as a chunk."""
        return self.encode_texts([text])[0]

    def encode_plain(self, text: str) -> NDArray[np.uint32]:
        """The ids that `tokenizers` gives with `add_special_tokens=False`, dummy space and all."""
        try:
            return self._made.encode_plain(text)
        except TokenizerError as error:
            package = self._package(error)
            with self._lock:
                return package.encode_plain(text)

    def count(self, text: str) -> int:
        """The number of ids of a text as a chunk."""
        return len(self.encode(text))

    def _one_by_one(
        self, texts: Sequence[str], watch: _nextlong.Watch | None, error: TokenizerError
    ) -> Rows:
        """Encodes texts some of which the core fails on: those by the package."""
        core = self.encoder
        package = self._package(error)
        assert isinstance(core, _nextlong.Tokenizer)
        return one_by_one(core, package, texts, watch, self._lock)

    def _package(self, error: TokenizerError) -> PythonEncoder:
        """What encodes a text that the core fails on.

        Raises:
            TokenizerError: There is nothing else, or the package has failed already.
        """
        if self._instead is None or not isinstance(self.encoder, _nextlong.Tokenizer):
            raise error
        with self._lock:
            if self._fallback is None:
                self._fallback = self._instead(error)
            return self._fallback

    def counter(self) -> _nextlong.Tokenizer | Callable[[str], int]:
        """What counts tokens for `unit="tokens"`: the core, or a function that threads may share."""
        encoder = self._made
        return encoder if isinstance(encoder, _nextlong.Tokenizer) else encoder.count

    def decode(self, ids: NDArray[np.uint32] | Sequence[int]) -> str:
        """The text of ids in the middle of a sequence."""
        return self._made.decode(np.ascontiguousarray(ids, dtype=np.uint32))

    def characters_of(self, texts: Sequence[str], ids: Rows) -> NDArray[np.int64]:
        """How many characters of chunks the first of their ids cover.

        Args:
            texts: The chunks.
            ids: The first ids of each, values and offsets, as `encode_texts` gives all of them.

        Returns:
            The characters of the longest prefix of each that its ids stand for. A character whose
            bytes or parts lie in several tokens is covered by the last of them; white space that no
            token holds is covered where a kept token follows it.

        Raises:
            TokenizerError: The ids are not the first ids of a text.
        """
        found = self._made.characters_of(texts, *ids)
        if len(found) and found.min() < 0:
            text = texts[int(found.argmin())]
            raise TokenizerError(f"the ids given for {text[:40]!r}… are not its first ids")
        return found

    def token_to_id(self, token: str) -> int | None:
        """The id of a token spelled as in the file, or None."""
        return self.encoder.token_to_id(token)

    def id_to_token(self, id: int) -> str | None:
        """The token of an id, spelled as in the file, or None."""
        return self.encoder.id_to_token(id)

    def is_safe_border(self, left: str, right: str) -> bool:
        """Whether the ids of `left` and then `right` are certainly those of both together."""
        return self._made.is_safe_border(left, right)

    @property
    def vocab_size(self) -> int:
        """The largest id and one, added tokens included."""
        return self.encoder.vocab_size

    @property
    def kind(self) -> str:
        """How ids behave at cuts: words, gpt2, lines, lines and slashes, newline or unknown."""
        return self._made.kind

    @property
    def notes(self) -> list[str]:
        """What was found in the file and treated in a way worth knowing."""
        return self._made.notes + self._notes

    @property
    def hash(self) -> str:
        """A hash of the tokenizer, 32 hexadecimal digits."""
        return self._hash

    def special_ids(
        self, bos: str | int | None = "auto", eos: str | int | None = "auto"
    ) -> SpecialIds:
        """Find the ids that open and close a sequence.

        `"auto"` takes, in this order: what the Hugging Face object declares; what a
        `tokenizer_config.json` beside the file declares; the first of these names among the added
        tokens; else none.

        - BOS: `<|begin_of_text|>`, `<｜begin▁of▁sentence｜>`, `<bos>`, `<|bos|>`, `<s>`,
          `<|startoftext|>`, `<BOS_TOKEN>`
        - EOS: `<|end_of_text|>`, `<｜end▁of▁sentence｜>`, `<eos>`, `<|eos|>`, `</s>`,
          `<|endoftext|>`, `<EOS_TOKEN>`

        Args:
            bos: `"auto"`, a token, an id, or None for none.
            eos: The same for the end.

        Raises:
            ConfigError: No such token or id.
        """
        return SpecialIds(
            bos=self._special("bos", bos, BOS_NAMES), eos=self._special("eos", eos, EOS_NAMES)
        )

    def separator_ids(
        self, separator: str | Mapping[str, str] | None, *, eos: int | None = None
    ) -> NDArray[np.uint32]:
        """The ids that stand between two chunks, the same at every place.

        Args:
            separator: A text, `"token:<sep>"` or `{"token": "<sep>"}` for a token by its name,
                or None for nothing.
            eos: The id that ends a sequence; a separator must not hold it.

        Returns:
            uint32 ids, empty for no separator.

        Raises:
            ConfigError: The token is unknown, or the separator holds the EOS.
        """
        self.check_separator(separator, eos=eos)
        if separator is None or separator == "":
            return np.empty(0, dtype=np.uint32)
        name = _token_named(separator)
        if name is not None:
            return np.array([self._id_of("chunk_separator", name)], dtype=np.uint32)
        assert isinstance(separator, str)
        ids = self.encode(separator)
        if eos is not None and bool((ids == eos).any()):
            raise self._holds_eos(separator, eos)
        return ids

    def check_separator(
        self, separator: str | Mapping[str, str] | None, *, eos: int | None = None
    ) -> None:
        """Find what is wrong with a separator as far as it can be told without encoding it.

        Args:
            separator: As in `separator_ids`.
            eos: As in `separator_ids`.

        Raises:
            ConfigError: The token is unknown, or the separator is or spells the EOS.
        """
        name = _token_named(separator)
        if name is not None and self._id_of("chunk_separator", name) == eos:
            raise self._holds_eos(name, eos)
        shown = name if name is not None else separator
        end = None if eos is None else self.id_to_token(eos)
        if eos is not None and end and isinstance(shown, str) and end in shown:
            raise self._holds_eos(shown, eos)

    def _holds_eos(self, shown: str, eos: int) -> ConfigError:
        return ConfigError(
            f"chunk_separator {shown!r} holds the EOS token {self.id_to_token(eos)!r}; trainers "
            "cut attention there, so choose another separator"
        )

    def _special(self, role: str, wanted: str | int | None, names: tuple[str, ...]) -> int | None:
        if wanted is None:
            return None
        if isinstance(wanted, bool) or not isinstance(wanted, (str, int, np.integer)):
            raise ConfigError(f"{role} ({wanted!r}) must be 'auto', a token, an id or None")
        if not isinstance(wanted, str):
            if not 0 <= int(wanted) < self.vocab_size:
                raise ConfigError(
                    f"{role} ({wanted}) must be an id below the {self.vocab_size} of the tokenizer"
                )
            return int(wanted)
        if wanted != "auto":
            return self._id_of(role, wanted)
        if role in self._declared:
            return self._declared[role]
        added = {content: id for id, content, _ in self.encoder.added}
        return next((added[name] for name in names if name in added), None)

    def _id_of(self, setting: str, token: str) -> int:
        id = self.token_to_id(token)
        if id is not None:
            return id
        names = [content for _, content, _ in self.encoder.added]
        close = difflib.get_close_matches(token, names, n=3, cutoff=0.5) or names[:3]
        hint = f"; hint: did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ConfigError(f"invalid `{setting}`: {token!r}, expected a token of {self.name}{hint}")


def _token_named(separator: str | Mapping[str, str] | None) -> str | None:
    """The name in a separator that is a token by its name."""
    if isinstance(separator, str):
        return separator.removeprefix("token:") if separator.startswith("token:") else None
    if separator is not None and set(separator) != {"token"}:
        raise ConfigError(
            f'invalid `chunk_separator`: {dict(separator)!r}, expected a text or {{"token": "<name>"}}'
        )
    return None if separator is None else separator["token"]
