"""The small corpus and the small tokenizer that the package ships, to try it out offline."""

from __future__ import annotations

from pathlib import Path

__all__ = ["sample_corpus", "sample_tokenizer"]

FOLDER = Path(__file__).parent / "data"


def sample_corpus() -> Path:
    """A JSONL.zst file of real documents; their sources and licences are in ATTRIBUTION.md."""
    return FOLDER / "sample.jsonl.zst"


def sample_tokenizer() -> Path:
    """A byte-level BPE tokenizer.json of 8,192 tokens, trained on open text."""
    return FOLDER / "tokenizer.json"
