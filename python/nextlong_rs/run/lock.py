"""The lock of a run directory: one process at a time, released by the operating system."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO, Any

from nextlong_rs.errors import RunError

__all__ = ["Lock", "holder"]

PATIENCE_SECONDS = (0.1, 0.5)
"""How long a lock is tried for, by whether a name is in it: who holds it may only look for a moment,
and the name be that of a dead process; or may have begun just now, and not be named yet.
"""

_held: set[Lock] = set()
"""The locks of this process."""


class Lock:
    """Holds `path` locked for the length of a `with` block and names this process in it.

    The lock is the operating system's (`flock`), so that a process that was killed holds none:
    what it wrote into the file is then only a name, and the next process takes over.

    Raises:
        RunError: Another process holds it; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Lock:
        if self.path.is_symlink():
            raise RunError(f"`{self.path}` is a link, expected a file of a run; hint: remove it")
        file = self.path.open("a+b")
        try:
            begun = time.monotonic()
            while not self._taken(file):
                by = _read(file)
                if time.monotonic() > begun + PATIENCE_SECONDS[not by]:
                    raise RunError(
                        f"`{self.path.parent.parent}` is locked by {_shown(by)}; hint: wait for it, "
                        "stop it, or choose another folder"
                    )
                time.sleep(0.01)
            file.truncate(0)
            file.write(json.dumps(_identity()).encode())
            file.flush()
        except BaseException:
            file.close()
            raise
        self._file = file
        _held.add(self)
        return self

    def _taken(self, file: IO[bytes]) -> bool:
        try:
            return _lock(file)
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be locked ({error.strerror}); name an output on a file system "
                "that has locks"
            ) from error

    def __exit__(self, *_: object) -> None:
        _held.discard(self)
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def holder(path: Path) -> str | None:
    """Who holds the lock `path` at this moment, in words; None if nobody does."""
    try:
        with path.open("rb") as file:
            return None if _lock(file, look=True) else _shown(_read(file))
    except OSError:
        return None


def _forget() -> None:
    """Gives up what a fork has copied: a child that outlives its parent would hold its locks."""
    for lock in _held:
        if lock._file is not None:
            lock._file.close()
            lock._file = None
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _identity() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(sys.argv)[:200],
    }


def _shown(identity: dict[str, Any]) -> str:
    if "pid" not in identity:
        return "another process"
    return (
        f"process {identity['pid']} on {identity.get('host')}, "
        f"since {identity.get('started')} ({identity.get('command')})"
    )


def _read(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    try:
        value = json.loads(file.read(4096))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes], *, look: bool = False) -> bool:
        # The byte that is locked lies behind what is written, so that it can be read.
        file.seek(1 << 20)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        if look:
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        return True

else:
    import fcntl

    def _lock(file: IO[bytes], *, look: bool = False) -> bool:
        try:
            # Two that only look do not see each other.
            kind = fcntl.LOCK_SH if look else fcntl.LOCK_EX
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
