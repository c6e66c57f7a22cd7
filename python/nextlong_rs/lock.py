"""One process a run directory: the lock that the operating system drops with its process."""

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
            raise RunError(f"{self.path} is a link, which no run made; remove it")
        file = self.path.open("a+b")
        try:
            if not _lock(file):
                raise RunError(
                    f"{self.path.parent.parent} is being worked on by {_shown(_read(file))}; wait "
                    "for it, stop it, or name another folder"
                )
            file.truncate(0)
            file.write(json.dumps(_identity()).encode())
            file.flush()
        except BaseException:
            file.close()
            raise
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def holder(path: Path) -> str | None:
    """Who holds the lock `path` at this moment, in words; None if nobody does."""
    try:
        file = path.open("r+b")
    except OSError:
        return None
    with file:
        return None if _lock(file) else _shown(_read(file))


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

    def _lock(file: IO[bytes]) -> bool:
        # The byte that is locked lies behind what is written, so that it can be read.
        file.seek(1 << 20)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
