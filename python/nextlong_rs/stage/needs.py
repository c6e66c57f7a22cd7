"""The memory that each stage of a run needs, by the sizes of its corpus."""

from __future__ import annotations

from nextlong_rs import _nextlong
from nextlong_rs.run.memory import KEPT_BYTES, MB, Need
from nextlong_rs.settings import Settings
from nextlong_rs.stage.waves import most_documents

__all__ = ["FEW", "WORDS", "gram_bytes", "needs"]

FEW = 1 << 17
"""Chunks left under `max_reuse` that are searched one by one, at most (`FEW` of the core's stock)."""
WORDS = 1 << 16
"""Buckets of the LSA's words."""
OWN_ROWS = 1 << 18
"""Rows that groups of texts have beyond those, at most (`MOST_OWN_ROWS` of the core)."""


def gram_bytes(kept: int) -> int:
    """Maximum bytes of the n-grams of chunks in memory, where packed vectors may take `kept` bytes."""
    return kept // 4


def needs(
    settings: Settings, *, chunks: int = 0, sequences: int = 0, kept: int = KEPT_BYTES
) -> dict[str, Need]:
    """What each stage holds.

    Args:
        settings: Of the run.
        chunks: Of the corpus, as far as they are known.
        sequences: That will be made, at most.
        kept: Bytes of packed vectors that a scan may keep.

    Returns:
        A need for each stage, by name.
    """
    # Rows that small groups of texts have of their own: about 4 a chunk in a corpus of many languages.
    own_rows = min(OWN_ROWS, 5 * chunks)
    table = (WORDS * 4 + own_rows * 2) * settings.dim
    followed = settings.dim + 96
    pieces = sequences * (settings.seq_len // 300 + 1)
    # A graph is held whole; a scan keeps what it may, and packs the rest again each time.
    searched = (settings.dim + 200) * chunks
    if settings.index == "exhaustive":
        searched = 8 * chunks
    elif settings.index != "hnsw":
        searched = min(settings.dim * chunks, kept) + 8 * chunks
    # Near the end of a corpus the remaining chunks are packed, up to this number.
    packs_left = settings.max_reuse is not None and settings.index != "exhaustive"
    left = min(chunks, FEW) * settings.dim if packs_left else 0
    one = _nextlong.GramLists.bytes_of_one(_nextlong.Settings(settings.to_json()))
    grams = min(gram_bytes(kept), one * chunks)
    # The ids of two waves: of one that grows, and of one that is being written.
    ids = 2 * 4 * settings.seq_len * most_documents(settings)
    return {
        "chunk": Need(each=84 * MB, shared=84 * MB),
        "fit": Need(
            each=16 * MB,
            shared=2
            * (WORDS + min(settings.fit_chunks, chunks or settings.fit_chunks))
            * followed
            * 4
            + own_rows * settings.dim * 2
            + 20 * MB,
        ),
        "embed": Need(each=8 * MB + 9000 * settings.dim * 6, shared=table * 3 // 2),
        "plan": Need(each=8 * MB + chunks * 24),
        "index": Need(each=24 * MB, shared=searched),
        "mine": Need(each=40 * MB, shared=64 * MB + ids + grams + pieces * 64 + left),
        "write": Need(each=40 * MB),
    }
