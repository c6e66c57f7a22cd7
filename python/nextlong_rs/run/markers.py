"""Validation of task markers: run directories are untrusted input.

In: the JSON of a marker. Out: whether it is complete, its facts have the right types, and its files are
those that the stage writes. `nextlong_rs.run.tasks` checks every marker with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextlong_rs.run.files import Number

__all__ = ["all_files_of", "files_of", "fingerprint", "has_seal", "read_json", "sealed", "sound"]

_FILES: dict[str, list[str]] = {
    "chunk": [
        "work/chunks/part-{:05}-{:05}.arrow",
        "work/chunks/part-{:05}-{:05}.quarantine.jsonl",
    ],
    "fit": ["work/embed/model.safetensors"],
    "embed": ["work/embed/part-{:05}.npy", "work/embed/groups-{:05}.npy"],
    "index": [
        "work/index/list-rows.npy",
        "work/index/list-starts.npy",
        "work/index/lists.npy",
        "work/index/shard-{:04}.usearch",
    ],
    "mine": [
        "work/mine/part-{:05}.arrow",
        "work/select/part-{:05}.arrow",
        "work/tokens/part-{:05}.arrow",
    ],
    "write": ["part-{:05}.parquet"],
}
"""The files that a task of a stage writes, some of them or all, in their order; those without a
number belong to its first task.
"""

_ALWAYS = {"chunk": 1, "embed": 1, "index": 1, "mine": 3, "write": 1}
"""How many of them a task always writes."""


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _place(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_count, value))


def _counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _lists(value: object) -> bool:
    """Whether it says for each depth how many lists there are, and names some."""
    return isinstance(value, dict) and all(
        re.fullmatch("[0-9]{1,10}", depth)
        and isinstance(fact, dict)
        and _count(fact.get("lists"))
        and isinstance(fact.get("sample"), list)
        and all(_count(row) for row in fact["sample"])
        for depth, fact in value.items()
    )


def _hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{32,64}", value) is not None


_FACTS = {
    "chunk": {
        "file_bytes": _count,
        "next": _place,
        "documents": _count,
        "chunks": _count,
        "text_bytes": _count,
        "bad": _counts,
    },
    "embed": {"chunks": _count},
    "mine": {"sequences": _count, "counts": _object, "lists": _lists},
    "write": {"rows": _count, "tokens": _count, "sha256": _hash},
}
"""What the marker of a stage says besides its files."""


def files_of(output: Path, stage: str, number: Number) -> list[Path]:
    """The files that a task may have written, whatever its marker says."""
    return [output / name for name in _names(stage, number)]


def all_files_of(output: Path, stage: str) -> list[Path]:
    """The files that any task of a stage has written, with a marker or without."""
    names = [re.sub(r"\{.*?\}", "[0-9]*", name) for name in _FILES[stage]]
    return [path for name in names for path in output.glob(name)]


def _names(stage: str, number: Number) -> list[str]:
    numbers = (number,) if isinstance(number, int) else number
    return [name.format(*numbers) for name in _FILES[stage] if number == 0 or "{" in name]


def sealed(marker: Mapping[str, Any]) -> dict[str, Any]:
    """A marker with the hash of what it says."""
    return {**marker, "seal": fingerprint(marker)}


def has_seal(marker: Mapping[str, Any]) -> bool:
    """Whether a marker says what it said when it was sealed."""
    said = {name: value for name, value in marker.items() if name != "seal"}
    return bool(marker.get("seal") == fingerprint(said))


def sound(marker: Mapping[str, Any], stage: str, number: Number) -> bool:
    """Whether a marker is as it was written, and says what one of its stage says."""
    if not has_seal(marker):
        return False
    facts = _FACTS.get(stage, {})
    if not all(name in marker and is_right(marker[name]) for name, is_right in facts.items()):
        return False
    files, names = marker.get("files"), _names(stage, number)
    if not isinstance(files, list) or not all(_is_file(file) for file in files):
        return False
    listed = [file["name"] for file in files]
    return listed == [name for name in names if name in listed] and (
        len(listed) >= _ALWAYS.get(stage, 0)
    )


def _is_file(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and _count(value.get("bytes"))
        and _hash(value.get("hash"))
        and all(isinstance(value.get(name), int) for name in ("mtime_ns", "ctime_ns"))
    )


def fingerprint(value: Any) -> str:
    """A hash of anything that JSON can hold, 32 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if the file is missing or holds anything else."""
    try:
        value = json.loads(path.read_bytes(), parse_constant=_refuse)
        json.dumps(value)  # as deep as can be written again
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
