"""Output files grow while negatives are still mined, and in which pieces changes no byte."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import nextlong_rs as nl
from nextlong_rs.stage.parts import Parts

synthesis = import_module("nextlong_rs.synthesize")
"""The module; the package has the function under this name."""

STEP = 32
"""Sequences of 32,768 tokens that are written at a time."""


def run(output: Path) -> list[str]:
    rules: dict[str, Any] = {"max_reuse": None, "max_score": None, "max_containment": None}
    made = nl.synthesize(
        nl.sample_corpus(),
        output,
        tokenizer=nl.sample_tokenizer(),
        seq_len=32_768,
        num_sequences=100,
        min_meta_chunks=1,
        progress=False,
        **rules,
    )
    assert len(made) == 100
    return [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(made.path.glob("*.p*"))
    ]


def test_the_last_file_grows_while_mining_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[int] = []
    write = synthesis.write

    def seen(job: Any, parts: Parts, count: int, metadata: str) -> Any:
        grown.extend(part.next - part.start for part in parts._parts if part.written is None)
        return write(job, parts, count, metadata)

    monkeypatch.setattr(synthesis, "write", seen)
    ahead = run(tmp_path / "ahead")
    assert len(grown) == 1
    assert grown[0] % STEP == 0
    assert STEP <= grown[0] < 100
    monkeypatch.setattr(Parts, "grow", lambda *given: None)
    grown.clear()
    assert run(tmp_path / "at the end") == ahead
    assert grown == []


def test_what_a_file_failed_with_while_it_grew_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Parts, "_write", fails)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path)
    assert not list(tmp_path.glob("part-*"))
