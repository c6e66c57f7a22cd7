"""Layout and locking of the run directory."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextlong_rs.errors import ConfigError, RunError
from nextlong_rs.run import changes as differences
from nextlong_rs.run.files import Number, label
from nextlong_rs.run.lock import Lock
from nextlong_rs.run.markers import read_json
from nextlong_rs.run.tasks import Tasks

__all__ = ["STAGES", "Run"]

STAGES = ("chunk", "fit", "embed", "index", "mine", "write")
"""The stages that leave markers, in their order."""

_FOLDERS = ("plan", "chunks", "embed", "index", "mine", "select", "tokens", "_done")


class Run:
    """One run: `OUT/part-*.parquet` and `OUT/manifest.json` last, all work in `OUT/work`.

    work/lock                   the process that works here
    work/run.json               settings, versions, tokenizer, input listing
    work/measured.json          seconds, memory, what was done again
    work/quarantine.jsonl       the rows that cannot be used
    work/plan/                  which documents are tried, in which order
    work/chunks/part-*-*.arrow  text and origin of every chunk, by lane and block
    work/embed/part-*.npy       its vector, float16
    work/index/                 what the engine keeps
    work/mine/part-*.arrow      meta-chunk → allowed neighbours
    work/select/part-*.arrow    sequences: their pieces in order
    work/tokens/part-*.arrow    token ids of the chunks that sequences use
    work/_done/<stage>/*.json   a marker for every finished task (`nextlong_rs.run.tasks`)

    Attributes:
        output: `OUT`.
        work: `OUT/work`.
        notes: What was done again, and why, a line each.
        shown: Whether notes go to stderr, too.
    """

    def __init__(self, output: str | os.PathLike[str], *, shown: bool = False) -> None:
        self.output = Path(output)
        self.work = self.output / "work"
        self.notes: list[str] = []
        self.shown = shown

    def lock(self) -> Lock:
        """The right to work here, for a `with` block; the folders are made.

        Raises:
            RunError: Another process works here, or the folder holds files or links that no run made.
            ConfigError: `output` is a file.
        """
        if self.output.exists() and not self.output.is_dir():
            raise ConfigError(f"invalid `output`: {self.output} is a file, expected a folder")
        if self.output.is_dir() and not self.work.is_dir() and any(self.output.iterdir()):
            raise RunError(
                f"output directory `{self.output}` is not empty and was not created by a run; hint: "
                "choose another folder"
            )
        stages = [self.work / "_done" / stage for stage in STAGES]
        for folder in [self.work, *(self.work / name for name in _FOLDERS), *stages]:
            # What is removed and written below must lie in this folder.
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                raise RunError(
                    f"{folder} is a link or a file, expected a folder that a run made; remove it, "
                    "or name another output"
                )
            folder.mkdir(parents=True, exist_ok=True)
        return Lock(self.work / "lock")

    @property
    def is_begun(self) -> bool:
        """Whether a run was begun or finished here."""
        return any(path.exists() for path in (self._manifest, self.work / "run.json"))

    @property
    def _manifest(self) -> Path:
        return self.output / "manifest.json"

    def prepare(self, facts: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Decides what of an earlier run stays; called under the lock.

        Args:
            facts: What `manifest.json` would say of the run that is to be made.
            resume: Whether finished tasks of an earlier run are kept.
            overwrite: Whether a finished run of other settings or inputs may be replaced.

        Raises:
            RunError: A finished run is there that would be replaced, and `overwrite` is off.
        """
        manifest = self._manifest
        if manifest.exists():
            changed = _difference(manifest, facts)
            if not overwrite and (changed or not resume):
                why = f"made with other {changed}" if changed else "and resume is off"
                raise RunError(
                    f"output {self.output} holds a finished run, {why}; name another folder, or "
                    "overwrite it (overwrite=True, --overwrite)"
                )
            if changed or not resume:
                manifest.unlink()
        if not resume:
            for part in self.output.glob("part-*.parquet"):
                part.unlink()
            for folder in _FOLDERS:
                shutil.rmtree(self.work / folder)
                (self.work / folder).mkdir()
        for unfinished in [*self.output.glob("*.tmp"), *self.work.rglob("*.tmp")]:
            unfinished.unlink()

    def check_disk(self, stage: str, least: int) -> None:
        """Stops a run before a stage that the disk has no room for.

        Args:
            stage: Its name, for the message.
            least: Bytes that it will surely write besides what is there already.

        Raises:
            RunError: The file system has less.
        """
        free = shutil.disk_usage(self.work).free
        if free < least:
            raise RunError(
                f"not enough disk space in `{self.output}` for stage `{stage}`: needs at least "
                f"{least / 1e6:,.1f} MB, {free / 1e6:,.1f} MB free; hint: free some and run the same "
                "command again, or choose an output elsewhere"
            )

    def tasks(self, stage: str, **depends: Any) -> Tasks:
        """The markers of a stage that depends on what is given."""
        return Tasks(self.output, stage, depends, self.say)

    def say(self, note: str) -> None:
        """Keeps a line on what is done again, and shows it."""
        self.notes.append(note)
        if self.shown:
            print(f"nextlong: {note}", file=sys.stderr)

    def part(self, stage: str, number: Number, suffix: str) -> Path:
        """The file of task `number` of a stage."""
        return self.work / stage / f"part-{label(number)}.{suffix}"

    def groups_part(self, number: int) -> Path:
        """The groups of the chunks of part `number`, beside their vectors."""
        return self.work / "embed" / f"groups-{label(number)}.npy"

    def output_part(self, number: int) -> Path:
        """Output file `number`."""
        return self.output / f"part-{number:05}.parquet"


def _difference(manifest: Path, facts: Mapping[str, Any]) -> str:
    """Which settings or other facts differ from those of a finished run; empty for none."""
    before = read_json(manifest)
    if before is None:
        return "or unknown settings (its manifest is damaged)"
    return differences.of_facts(before, facts)
