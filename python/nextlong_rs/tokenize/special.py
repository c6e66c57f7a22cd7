"""The tokens that open and close a sequence: their usual names, and where they are declared.

In: a tokenizer object, or the file beside a `tokenizer.json`. Out: the ids of BOS and EOS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nextlong_rs.errors import TokenizerError

__all__ = [
    "BOS_NAMES",
    "EOS_NAMES",
    "SpecialIds",
    "declared_beside",
    "declared_by",
    "declared_ids",
]

BOS_NAMES = (
    "<|begin_of_text|>",
    "<｜begin▁of▁sentence｜>",
    "<bos>",
    "<|bos|>",
    "<s>",
    "<|startoftext|>",
    "<BOS_TOKEN>",
)
"""Names that tokenizers give to the beginning of a sequence, tried in this order."""

EOS_NAMES = (
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<eos>",
    "<|eos|>",
    "</s>",
    "<|endoftext|>",
    "<EOS_TOKEN>",
)
"""Names that tokenizers give to the end of a sequence, tried in this order."""


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """The ids that open and close a sequence; None where there is none."""

    bos: int | None
    eos: int | None


def declared_by(tokenizer: Any) -> dict[str, int | None]:
    """BOS and EOS as a Hugging Face object declares them; a role it does not know is left out."""
    roles: tuple[Literal["bos", "eos"], ...] = ("bos", "eos")
    ids = {role: getattr(tokenizer, f"{role}_token_id", None) for role in roles}
    return {role: None if id is None else int(id) for role, id in ids.items()}


def declared_beside(file: Path) -> dict[str, str | None]:
    """BOS and EOS as the `tokenizer_config.json` beside the file names them."""
    beside = file.with_name("tokenizer_config.json")
    if not beside.is_file():
        return {}
    try:
        config = json.loads(beside.read_text(encoding="utf8"))
    except ValueError as error:
        raise TokenizerError(f"{beside}: not JSON: {error}") from error
    declared: dict[str, str | None] = {}
    for role in ("bos", "eos"):
        token = config.get(f"{role}_token", "")
        if isinstance(token, Mapping):
            token = token.get("content", "")
        if token != "":
            declared[role] = token
    return declared


def declared_ids(
    token_to_id: Callable[[str], int | None], declared: Mapping[str, str | None]
) -> dict[str, int | None]:
    """The ids of declared tokens; names that the tokenizer lacks are as if not declared."""
    ids = {role: token and token_to_id(token) for role, token in declared.items()}
    return {
        role: id if isinstance(id, int) else None
        for role, id in ids.items()
        if id is not None or declared[role] is None
    }
