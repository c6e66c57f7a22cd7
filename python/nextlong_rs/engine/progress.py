"""Progress bars, drawn in Python from the core's counters: one for each stage, or none."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Bar"]

LOG_SECONDS = 30.0


class Bar:
    """The bar of one stage; `show` takes the value of a counter that only rises.

    On a terminal and in a notebook it is redrawn in place; in a log it writes a line at most every
    30 seconds, and one at the end.
    """

    def __init__(
        self,
        stage: str,
        total: float | None,
        *,
        unit: str,
        shown: bool,
        start: float = 0,
        scale: bool = True,
    ) -> None:
        self.seconds = 0.0
        self._begun = time.perf_counter()
        self._start = start
        self._last = 0.0
        self._bar: Any = None
        self._line: _Lines | None = None
        if shown and not (sys.stderr.isatty() or "ipykernel" in sys.modules):
            self._line = _Lines(stage, total, unit)
        elif shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=total,
                desc=f"{stage:<9}",
                unit=unit,
                unit_scale=scale,
                mininterval=0.1,
                dynamic_ncols=True,
                leave=True,
            )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        if self._line is not None:
            self._line.write(self._last, self.seconds, ended=kind is None)
        if self._bar is not None:
            if kind is None and self._bar.total is not None:
                self._bar.update(self._bar.total - self._bar.n)
            self._bar.close()

    def show(self, counter: float) -> None:
        """Moves the bar to where `counter` is."""
        done = counter - self._start
        if self._line is not None:
            self._last = max(done, self._last)
            self._line.write(self._last, time.perf_counter() - self._begun)
        if self._bar is not None and done > self._last:
            self._bar.update(done - self._last)
            self._last = done


class _Lines:
    """A bar for a log: whole lines, seldom."""

    def __init__(self, stage: str, total: float | None, unit: str) -> None:
        self._stage, self._total, self._unit = stage, total, unit
        self._next = LOG_SECONDS

    def write(self, done: float, seconds: float, *, ended: bool | None = None) -> None:
        """Writes a line if it is time for one, or if the stage ended."""
        if ended is None and seconds < self._next:
            return
        self._next = seconds + LOG_SECONDS
        of = "" if self._total is None else f" of {self._total:,.0f}"
        rate = done / max(seconds, 1e-9)
        parts = [f"{done:,.0f}{of} {self._unit}, {rate:,.1f} {self._unit}/s"] if done else []
        parts.append(f"{seconds:.1f} s")
        if ended is None and self._total is not None and done:
            parts.append(f"{max(self._total - done, 0) / rate:.0f} s left")
        if ended is False:
            parts.append("stopped")
        print(f"{self._stage}: {', '.join(parts)}", file=sys.stderr, flush=True)
