"""The shared state of the stages of a run: settings, run directory, threads and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool, thread_count
from nextlong_rs.engine.progress import Bar
from nextlong_rs.errors import ConfigError
from nextlong_rs.run.directory import Run
from nextlong_rs.run.memory import LITTLE, Budget, Need, parse_bytes
from nextlong_rs.run.versions import versions
from nextlong_rs.settings import Settings
from nextlong_rs.stage.needs import needs

__all__ = ["Job", "rounded"]


class Job:
    """What the stages of one run share: settings, folders, threads, and what they report."""

    def __init__(
        self,
        settings: Settings,
        run: Run,
        *,
        threads: int | None,
        memory_limit: int | str | None = None,
        progress: bool,
        needed: Future[Any] | None = None,
    ) -> None:
        """Of the settings and the folder of a run, and what it `needed` that is still being made."""
        if not isinstance(progress, bool):
            raise ConfigError(f"progress is {progress!r}, expected True or False")
        self.settings = settings
        self.core = _nextlong.Settings(settings.to_json())
        self.run = run
        self.threads = thread_count(threads)
        self.budget = Budget(None if memory_limit is None else parse_bytes(memory_limit))
        self.progress = progress
        self.version = versions()["nextlong_rs"]
        self.digests: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.summary: dict[str, Any] = {}
        self._needed = needed

    def check_needed(self) -> None:
        """Stops the run as soon as it is known that it cannot be finished."""
        if self._needed is not None and self._needed.done():
            self._needed.result()

    def check_memory(self, chunks: int = 0) -> None:
        """Refuses a limit that a stage would pass hours later: before the first begins, and again
        when the number of chunks is known.
        """
        for name, need in needs(self.settings, chunks=chunks, kept=self.budget.kept).items():
            if name != "fit" or self.settings.embedder == "lsa":
                self.budget.threads(name, 1, need)

    @contextmanager
    def stage(
        self,
        name: str,
        need: Need = LITTLE,
        *,
        total: float | None = None,
        unit: str = "",
        spare: int = 0,
    ) -> Iterator[Pool]:
        """A pool and a bar for one stage, with as many threads as its memory allows, and `spare` ones
        that the need shared by all has room for.
        """
        self.check_needed()
        threads = self.budget.threads(name, self.threads, need)
        with Bar(name, total, unit=unit, shown=self.progress) as bar:
            with Pool(threads, bar=bar, spare=spare) as pool:
                yield pool
        self.seconds[name] = self.seconds.get(name, 0.0) + bar.seconds

    def report(self, group: str, **facts: Any) -> None:
        """Adds facts to a group of the summary."""
        self.summary.setdefault(group, {}).update(facts)


def rounded(measured: str) -> dict[str, Any] | None:
    """Measured shares and means as the report shows them: four digits, the same everywhere."""
    facts: dict[str, Any] | None = json.loads(measured)
    return facts and {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in facts.items()
    }
