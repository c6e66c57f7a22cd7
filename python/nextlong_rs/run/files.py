"""Small files written atomically, and numbers in file names."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Number", "by_number", "file_sha256", "label", "write_json", "write_lines"]

Number = int | tuple[int, int]
"""The number of a task, or its lane and its number there."""


def label(number: Number) -> str:
    """A number as names of files have it.

    Example:
        >>> label(17), label((3, 17))
        ('00017', '00003-00017')
    """
    parts = (number,) if isinstance(number, int) else number
    return "-".join(f"{part:05}" for part in parts)


def by_number(paths: Iterable[Path]) -> list[Path]:
    """Files in the order of the numbers in their names, however many digits these have.

    Example:
        >>> names = ["part-99999-00000.arrow", "part-100000-00000.arrow", "part-00002-00010.arrow"]
        >>> [path.name for path in by_number(map(Path, sorted(names)))] == [names[2], *names[:2]]
        True
    """
    return sorted(paths, key=lambda path: [int(part) for part in re.findall("[0-9]+", path.name)])


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all: temporary name, sync, rename."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    write_lines(path, [text.encode("utf-8", "backslashreplace"), b"\n"])


def write_lines(path: Path, parts: Iterable[bytes]) -> None:
    """Writes a file of the given parts, whole or not at all: temporary name, sync, rename."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal: what users check with `sha256sum`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
