"""The run directory: where every stage puts its files, and how a task says that it is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from nextlong_rs.errors import ConfigError, RunError

__all__ = ["FORMAT", "Run", "file_hash", "write_json"]

FORMAT = 1
"""The version of the layout below; a run of another version is not touched."""


class Run:
    """One run: `OUT/part-*.parquet` and `OUT/manifest.json` last, all work in `OUT/work`.

    work/run.json               settings, versions, tokenizer, input listing
    work/plan/                  which documents are tried, in which order
    work/chunks/part-*.arrow    text and origin of every chunk
    work/embed/part-*.npy       its vector, float16
    work/index/                 what the engine keeps
    work/mine/part-*.arrow      meta-chunk → allowed neighbours
    work/tokens/part-*.arrow    token ids of the chunks that sequences use
    work/_done/<stage>/*.json   a marker for every finished task
    """

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.output = Path(output)
        self.work = self.output / "work"

    def create(self, *, overwrite: bool) -> None:
        """Makes the folders; what an earlier run left is removed first.

        Raises:
            RunError: A finished run is there and `overwrite` is off, or the folder is not ours.
            ConfigError: `output` is a file.
        """
        if self.output.exists() and not self.output.is_dir():
            raise ConfigError(f"output {self.output} is a file, expected a folder")
        if self.output.is_dir() and any(self.output.iterdir()):
            if not (self.work / "run.json").is_file():
                raise RunError(
                    f"output {self.output} holds files that no run made; name another folder"
                )
            if (self.output / "manifest.json").exists() and not overwrite:
                raise RunError(
                    f"output {self.output} holds a finished run; "
                    "name another folder, or overwrite it (overwrite=True, --overwrite)"
                )
            (self.output / "manifest.json").unlink(missing_ok=True)
            for part in self.output.glob("part-*.parquet*"):
                part.unlink()
            for entry in self.work.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != "run.json":
                    entry.unlink()
        for stage in ("plan", "chunks", "embed", "index", "mine", "tokens", "_done"):
            (self.work / stage).mkdir(parents=True, exist_ok=True)

    def part(self, stage: str, number: int, suffix: str) -> Path:
        """The file of task `number` of a stage."""
        return self.work / stage / f"part-{number:05}.{suffix}"

    def output_part(self, number: int) -> Path:
        """Output file `number`."""
        return self.output / f"part-{number:05}.parquet"

    def mark(self, stage: str, number: int, files: list[Path], **facts: Any) -> dict[str, Any]:
        """Writes the marker of a finished task: its files with sizes, and what it counted."""
        marker = {
            "format": FORMAT,
            "files": [
                {"name": str(file.relative_to(self.output)), "bytes": file.stat().st_size}
                for file in files
            ],
            **facts,
        }
        folder = self.work / "_done" / stage
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{number:05}.json", marker)
        return marker


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all: temporary name, sync, rename."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
