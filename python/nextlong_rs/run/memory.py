"""How much memory a run may hold, and how many tasks may be under way for that.

A limit changes no byte of a run: only how many threads of a stage work side by side. Files that are
mapped (the chunk store, vectors, lists, token ids) do not count: the system drops them when memory
runs short.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError
from nextlong_rs.stage.waves import most_documents

if TYPE_CHECKING:
    from nextlong_rs.settings import Settings

__all__ = [
    "FEW",
    "LITTLE",
    "Budget",
    "Need",
    "give_back",
    "gram_bytes",
    "held_now",
    "needs",
    "parse_bytes",
]

FEW = 1 << 17
"""Chunks left under `max_reuse` that are searched one by one, at most (`FEW` of the core's stock)."""
WORDS = 1 << 16
"""Buckets of the LSA's words."""
OWN_ROWS = 1 << 18
"""Rows that groups of texts have beyond those, at most (`MOST_OWN_ROWS` of the core)."""

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(given: int | str) -> int:
    """A size such as `2_000_000_000`, `"2GB"` (powers of 1000) or `"2GiB"` (powers of 1024).

    Raises:
        ConfigError: It is no size above 0.

    Example:
        >>> parse_bytes("1.5GB"), parse_bytes("2KiB")
        (1500000000, 2048)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(I?)B?\s*", str(given).upper())
    if found is None or isinstance(given, bool):
        raise ConfigError(f"{given!r} is no size; write 2000000000, '2GB' or '2GiB'")
    number, unit, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _UNITS[unit])
    if size < 1:
        raise ConfigError(f"{given!r} is no size above 0")
    return size


def held_now(process: int | None = None) -> int:
    """The memory that a process (this one by default) holds now, in bytes, without mapped files;
    0 if unknown.
    """
    try:
        status = Path("/proc", str(process or "self"), "status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0


def give_back() -> None:
    """Return what was freed to the system, where the C library keeps it for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@dataclass(frozen=True, slots=True)
class Need:
    """What a stage holds in memory, in bytes, as measured on real runs.

    Attributes:
        each: For every task under way.
        shared: Whatever the number of threads.
    """

    each: int
    shared: int = 0


MB = 1_000_000

KEPT_BYTES = 1 << 30
"""Packed vectors that a scan keeps between calls, at most."""

LITTLE = Need(each=8 * MB)
"""A stage that holds next to nothing."""


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
    # Near the end of a corpus the chunks that may still be used are packed, at most so many.
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


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on the memory of a run.

    Attributes:
        limit: Bytes; None for no limit.
    """

    limit: int | None = None

    @property
    def kept(self) -> int:
        """Bytes of packed vectors that a scan may keep: a quarter of the limit, at most 1 GiB."""
        return KEPT_BYTES if self.limit is None else min(KEPT_BYTES, self.limit // 4)

    @property
    def line(self) -> int | None:
        """Bytes of a line of the corpus that may be held: a quarter of the limit."""
        return None if self.limit is None else max(self.limit // 4, 1 << 20)

    def threads(self, stage: str, threads: int, need: Need) -> int:
        """How many threads of a stage may work side by side: from 1 to `threads`.

        Raises:
            ConfigError: The limit is below what one thread needs.
        """
        if self.limit is None:
            return threads
        give_back()
        room = self.limit - held_now() - need.shared
        if room < need.each:
            least = self.limit - room + need.each
            raise ConfigError(
                f"memory_limit ({self.limit / MB:,.0f} MB) is too small for the stage {stage}, "
                f"which needs about {least / MB:,.0f} MB; raise it"
            )
        return min(threads, room // need.each)
