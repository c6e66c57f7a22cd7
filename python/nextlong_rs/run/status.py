"""The status of a run: read from its markers, without changing anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nextlong_rs.errors import RunError
from nextlong_rs.run.directory import STAGES
from nextlong_rs.run.lock import holder
from nextlong_rs.run.markers import read_json

__all__ = ["Status", "status"]


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands; prints as a table.

    Attributes:
        path: The run's folder.
        state: "finished", "running" or "stopped".
        holder: The process that works there, in words; None if none does.
        stages: For each stage the tasks that are done, and how many there are; None while it is
            not known.
    """

    path: Path
    state: str
    holder: str | None
    stages: dict[str, tuple[int, int | None]]

    def __str__(self) -> str:
        """A line on the run and one for each stage."""
        by = f" by {self.holder}" if self.holder else ""
        lines = [f"{self.path}: {self.state}{by}"]
        for stage, (done, tasks) in self.stages.items():
            of = "" if tasks is None else f" of {tasks}"
            ending = "task done" if done == 1 and tasks in (None, 1) else "tasks done"
            lines.append(f"  {stage:<6} {done}{of} {ending}")
        if self.state == "stopped":
            lines.append("  the same command again goes on from here")
        return "\n".join(lines)


def status(run: str | os.PathLike[str]) -> Status:
    """Tell where a run stands.

    Args:
        run: The folder that was given to `synthesize` as `output`.

    Returns:
        Its state and the tasks done, by stage.

    Raises:
        RunError: There is no run in the folder.
    """
    output = Path(run)
    work = output / "work"
    if not (work / "run.json").is_file():
        raise RunError(f"{output}: no run is there; name the output folder of a run")
    stages: dict[str, tuple[int, int | None]] = {}
    for stage in STAGES:
        folder = work / "_done" / stage
        tasks = (read_json(folder / "stage.json") or {}).get("tasks")
        known = tasks if isinstance(tasks, int) else None
        stages[stage] = (len(list(folder.glob("[0-9]*.json"))), known)
    busy = holder(work / "lock")
    finished = (output / "manifest.json").is_file()
    state = "running" if busy else "finished" if finished else "stopped"
    return Status(output, state, busy, stages)
