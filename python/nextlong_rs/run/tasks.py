"""The tasks of a stage: which are done, with which settings, and whether their files are intact.

A task is done if its marker exists, `work/_done/<stage>/<number>.json`, and every file that it names has
the recorded size and content. Beside the markers, `stage.json` records what the stage depends on: its
settings and the hashes of what it read. When one of them changes, the stage starts over and reports
which one it was.

Markers are untrusted: a modified one does not match its seal, and only files that the stage itself
would write are read or removed.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nextlong_rs import _nextlong
from nextlong_rs.run import changes as differences
from nextlong_rs.run.files import Number, label, write_json
from nextlong_rs.run.markers import (
    all_files_of,
    files_of,
    fingerprint,
    has_seal,
    read_json,
    sealed,
    sound,
)

__all__ = ["FORMAT", "Tasks", "fingerprint"]

FORMAT = 8
"""The version of the run directory's layout; files of another version are rebuilt."""


class Tasks:
    """The markers of one stage of a run.

    Args:
        output: The run's folder; the files of markers are named from there.
        stage: The stage's name.
        depends: What the stage's files follow from, by name: settings, hashes, versions.
        say: Told, in a line, why work is done again.
    """

    def __init__(
        self, output: Path, stage: str, depends: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self.output = output
        self.stage = stage
        self.folder = output / "work" / "_done" / stage
        self.depends = json.loads(json.dumps({"format": FORMAT, **depends}, ensure_ascii=False))
        self.reused = 0
        self._say = say
        self._markers: dict[Number, dict[str, Any]] = {}
        self._open()

    def _open(self) -> None:
        state = self.folder / "stage.json"
        before = self._recorded()
        if before is not None and before.get("depends") == self.depends:
            return
        if state.exists():
            changes = differences.of_stage((before or {}).get("depends"), self.depends)
            self._say(f"{self.stage}: rerunning, {changes}")
        # The first to go: what the stage made under other settings must not look like this run's.
        (self.folder / "stage.json").unlink(missing_ok=True)
        for _, marker in self._numbered():
            marker.unlink()
        # A run that was killed may have left some without a marker.
        for path in all_files_of(self.output, self.stage):
            path.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(state, sealed({"depends": self.depends}))

    def _recorded(self) -> dict[str, Any] | None:
        """What `stage.json` says; None if it is missing or damaged."""
        found = read_json(self.folder / "stage.json")
        return found if found is not None and has_seal(found) else None

    def done(self, number: Number) -> dict[str, Any] | None:
        """The marker of task `number` if it is done and its files are whole."""
        known = self._markers.get(number)
        if known is not None:
            return known
        path = self._marker(number)
        if not path.exists():
            return None
        marker = read_json(path)
        if marker is None or not sound(marker, self.stage, number):
            self._say(f"{self.stage}: the marker of task {label(number)} is corrupted, rerunning")
            self.discard(number)
            return None
        for file in marker["files"]:
            what = self._fault(file)
            if what is not None:
                self._say(f"{self.stage}: {file['name']} {what}, rebuilding")
                path.unlink(missing_ok=True)
                return None
        self._markers[number] = marker
        self.reused += 1
        return marker

    def _fault(self, file: Mapping[str, Any]) -> str | None:
        """What is wrong with a file of a marker; None if it is the one that was written."""
        path = self.output / file["name"]
        try:
            found = path.lstat()
        except OSError:
            return "is missing"
        if not stat.S_ISREG(found.st_mode):
            return "is no file"
        if found.st_size != file["bytes"]:
            return f"has {found.st_size} bytes instead of {file['bytes']}"
        # A file can be given an old time of change, but not an old time of that.
        times = (found.st_mtime_ns, found.st_ctime_ns)
        if (
            times != (file["mtime_ns"], file["ctime_ns"])
            and _nextlong.file_hash(path) != file["hash"]
        ):
            return "was changed"
        return None

    def mark(self, number: Number, files: Sequence[Path], **facts: Any) -> dict[str, Any]:
        """Writes the marker of a finished task: its files, and what it counted."""
        (self.output / "manifest.json").unlink(missing_ok=True)
        listed = []
        for path in files:
            found = path.stat()
            listed.append(
                {
                    "name": path.relative_to(self.output).as_posix(),
                    "bytes": found.st_size,
                    "mtime_ns": found.st_mtime_ns,
                    "ctime_ns": found.st_ctime_ns,
                    "hash": _nextlong.file_hash(path),
                }
            )
        marker = sealed({"files": listed, **facts})
        write_json(self._marker(number), marker)
        self._markers[number] = marker
        return marker

    def finish(self, tasks: int | Sequence[Number]) -> str:
        """Ends the stage with these tasks, or so many; gives the hash of all that they made, in their
        order.

        What an earlier run made beyond them is removed.
        """
        numbers = range(tasks) if isinstance(tasks, int) else tasks
        hashes = []
        for number in numbers:
            marker = self._markers[number]
            hashes.append([file["hash"] for file in marker["files"]])
        kept = set(numbers)
        for number, _ in self._numbered():
            if number not in kept:
                self.discard(number)
        digest = fingerprint(hashes)
        write_json(
            self.folder / "stage.json",
            sealed({"depends": self.depends, "tasks": len(numbers), "digest": digest}),
        )
        return digest

    def discard(self, number: Number) -> None:
        """Removes a task's marker and its files."""
        path = self._marker(number)
        for file in files_of(self.output, self.stage, number):
            file.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        self._markers.pop(number, None)

    def _marker(self, number: Number) -> Path:
        return self.folder / f"{label(number)}.json"

    def _numbered(self) -> Iterator[tuple[Number, Path]]:
        """The markers that are there, with their numbers."""
        for path in sorted(self.folder.glob("[0-9]*.json")):
            parts = path.stem.split("-")
            if all(part.isdecimal() for part in parts) and len(parts) <= 2:
                numbers = [int(part) for part in parts]
                yield (numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])), path

    @property
    def count(self) -> int | None:
        """How many tasks the stage had when it was finished; None if it was not."""
        count = (self._recorded() or {}).get("tasks")
        return count if isinstance(count, int) else None
