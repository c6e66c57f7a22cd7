"""The memory budget of a run, and how many threads a stage may use within it.

A limit changes no byte of a run, only how many threads of a stage work in parallel. Memory-mapped files
(the chunk store, vectors, lists, token ids) do not count: the system drops them when memory is short.
"""

from __future__ import annotations

import ctypes
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nextlong_rs.errors import ConfigError

__all__ = [
    "KEPT_BYTES",
    "LITTLE",
    "MB",
    "Budget",
    "Need",
    "give_back",
    "held_now",
    "parse_bytes",
    "peak_memory",
]

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(given: int | str) -> int:
    """A size such as `2_000_000_000`, `"2GB"` (powers of 1000) or `"2GiB"` (powers of 1024).

    Raises:
        ConfigError: Not a size above 0.

    Example:
        >>> parse_bytes("1.5GB"), parse_bytes("2KiB")
        (1500000000, 2048)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(I?)B?\s*", str(given).upper())
    if found is None or isinstance(given, bool):
        raise ConfigError(f"invalid size {given!r}: expected 2000000000, '2GB' or '2GiB'")
    number, unit, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _UNITS[unit])
    if size < 1:
        raise ConfigError(f"invalid size {given!r}: expected more than 0")
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


def peak_memory() -> int:
    """The most memory that this process held, in bytes, mapped files in use included."""
    try:
        # What `getrusage` tells begins with the peak of the process that started this one.
        text = Path("/proc/self/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage if sys.platform == "darwin" else usage * 1024
