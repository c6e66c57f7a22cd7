"""A small valid corpus and a run that must end in a result or in one clear error, for tests of hostile input."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import nextlong_rs as nl
from nextlong_rs.errors import NextlongError

SETTINGS: dict[str, Any] = {
    "seq_len": 1024,
    "chunk_size": 300,
    "num_sequences": 2,
    "dim": 8,
    "min_meta_chunks": 1,
    "on_short": "shorten",
    "max_error_rate": 0.5,
    "threads": 2,
    "progress": False,
}
"""A run of a blink; half of the rows may be bad."""


def text(number: int, words: int = 120) -> str:
    """A made-up document of lines."""
    chance = random.Random(number)
    made = [
        "".join(chance.choices("abcdefgh", k=chance.randint(2, 7))) + " \n"[at % 12 == 11]
        for at in range(words)
    ]
    return "".join(made)


GOOD = [json.dumps({"text": text(number)}).encode() for number in range(20)]


def lines(*bad: bytes) -> bytes:
    """The good corpus as JSON lines, with bad ones in its middle."""
    return b"\n".join([*GOOD[:10], *bad, *GOOD[10:], b""])


def outcome(inputs: Any, output: Path, **changes: Any) -> str | dict[str, int]:
    """Run `synthesize`: what it quarantined by reason, or its one error as `Class: message`.

    Whatever else is raised, a panic of the core among it, passes and fails the test.
    """
    options = {**SETTINGS, **changes}
    tokenizer = options.pop("tokenizer", nl.sample_tokenizer())
    try:
        result = nl.synthesize(inputs, output, tokenizer=tokenizer, **options)
    except NextlongError as error:
        message = str(error)
        assert message
        assert "internal error" not in message
        return f"{type(error).__name__}: {message}"
    found: dict[str, int] = result.manifest["summary"]["corpus"]["quarantined_by_reason"]
    return found
