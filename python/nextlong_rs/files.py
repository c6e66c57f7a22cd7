"""Small files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["file_sha256", "write_json", "write_lines"]


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
