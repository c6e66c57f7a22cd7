"""Loads a tokenizer of any kind.

In: a path, a `tokenizers.Tokenizer` or a Hugging Face tokenizer. Out: a `Tokenizer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError, TokenizerError
from nextlong_rs.tokenize.encoder import Encoder
from nextlong_rs.tokenize.python import PythonEncoder
from nextlong_rs.tokenize.special import declared_beside, declared_by, declared_ids
from nextlong_rs.tokenize.tokenizer import Tokenizer

__all__ = ["load", "only_counts"]


def load(tokenizer: Any, *, lazy: bool = False) -> Tokenizer:
    """Load a tokenizer of any kind.

    Args:
        tokenizer: The path of a `tokenizer.json`, a folder that holds one, a
            `tokenizers.Tokenizer`, a Hugging Face (`transformers`) tokenizer, or a `Tokenizer`.
        lazy: Leave the tables that encode, most of the work, to `Tokenizer.ready` or whoever needs
            them first. Ids and names of tokens are known without. A tokenizer whose ids are to be
            compared with those of the `tokenizers` package is ready at once.

    Returns:
        The tokenizer. What the fast encoder cannot read, or encodes otherwise, is encoded by the
        Python object that was given (for a path: by the `tokenizers` package, if it is installed),
        slower, the same ids; `Tokenizer.notes` says so.

    Raises:
        TokenizerError: It is none of these, or nothing can read it.
        ConfigError: It is a function, which can only count.
    """
    if isinstance(tokenizer, Tokenizer):
        loaded = tokenizer
    else:
        loaded = _read(tokenizer)
        loaded.remade_by = load, (tokenizer,)
    encoder = loaded.encoder
    if not lazy or not isinstance(encoder, _nextlong.Tokenizer) or encoder.unproven is not None:
        loaded.ready()
    return loaded


def _read(tokenizer: Any) -> Tokenizer:
    if isinstance(tokenizer, (str, PathLike)):
        return _from_path(Path(tokenizer))
    if hasattr(tokenizer, "backend_tokenizer"):
        declared = declared_by(tokenizer)
        return _from_object(tokenizer.backend_tokenizer, _name_of(tokenizer), declared)
    if hasattr(tokenizer, "to_str") and hasattr(tokenizer, "encode_batch"):
        return _from_object(tokenizer, type(tokenizer).__name__, {})
    if hasattr(tokenizer, "convert_tokens_to_ids") and callable(tokenizer):
        encoder = PythonEncoder.of_transformers(tokenizer)
        return Tokenizer(encoder, name=_name_of(tokenizer), declared=declared_by(tokenizer))
    if only_counts(tokenizer):
        raise ConfigError(
            f"invalid `tokenizer`: {tokenizer!r}, expected a tokenizer that gives ids; hint: a function "
            "that counts tokens is enough for nextlong_rs.chunk and nextlong_rs.Chunker only"
        )
    raise TokenizerError(
        f"unsupported tokenizer type `{type(tokenizer).__name__}`: expected the path of a "
        "tokenizer.json, a `tokenizers.Tokenizer` or a transformers tokenizer"
    )


def only_counts(tokenizer: Any) -> bool:
    """Whether a tokenizer is a function that counts tokens and can do no more."""
    kinds = ("backend_tokenizer", "encode_batch", "convert_tokens_to_ids")
    return callable(tokenizer) and not any(hasattr(tokenizer, name) for name in kinds)


def _from_path(path: Path) -> Tokenizer:
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        hint = "the folder holds none" if path.is_dir() else "there is no such file"
        raise TokenizerError(
            f"{path}: {hint}; give the path of a tokenizer.json, or load a model's tokenizer with "
            "transformers.AutoTokenizer.from_pretrained and give that object"
        )
    try:
        text = file.read_text(encoding="utf8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{file}: not UTF-8 text, so no tokenizer.json") from error
    declared = declared_beside(file)
    instead = partial(_second_try, file, text)
    encoder = _encoder(text, instead)
    return Tokenizer(
        encoder,
        name=str(path),
        declared=declared_ids(encoder.token_to_id, declared),
        instead=instead,
    )


def _second_try(file: Path, text: str, error: TokenizerError) -> PythonEncoder:
    """Reads with the `tokenizers` package what the core could not read."""
    try:
        import tokenizers
    except ImportError:
        raise TokenizerError(
            f"{file}: {error}; or install the slower reader: pip install 'nextlong_rs[tokenizers]'"
        ) from error
    try:
        return PythonEncoder.of_text(text, tokenizers.Tokenizer, str(error))
    except TokenizerError as second:
        raise TokenizerError(f"{file}: {second}") from error
    except Exception as second:
        raise TokenizerError(
            f"{file}: {error}; nor can the tokenizers package: {second}"
        ) from error


def _from_object(given: Any, name: str, declared: Mapping[str, int | None]) -> Tokenizer:
    text, reader = given.to_str(), type(given)

    def instead(error: TokenizerError) -> PythonEncoder:
        # The object itself is the user's to keep or to drop.
        return PythonEncoder.of_text(text, reader, str(error))

    encoder = _encoder(text, instead)
    return Tokenizer(encoder, name=name, declared=declared, instead=instead)


def _encoder(text: str, instead: Callable[[TokenizerError], PythonEncoder]) -> Encoder:
    """The core's, as far as it can be told without its tables."""
    try:
        return _nextlong.Tokenizer(text, lazy=True)
    except TokenizerError as error:
        return instead(error)


def _name_of(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
