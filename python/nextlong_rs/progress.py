"""Progress bars, drawn in Python from the core's counters: one a stage, silent on request."""

from __future__ import annotations

import sys
import time
from types import TracebackType
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
        if shown:
            from tqdm.auto import tqdm

            terminal = sys.stderr.isatty() or "ipykernel" in sys.modules
            self._bar = tqdm(
                total=total,
                desc=f"{stage:<9}",
                unit=unit,
                unit_scale=scale,
                mininterval=0.1 if terminal else LOG_SECONDS,
                dynamic_ncols=terminal,
                leave=True,
            )

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._begun
        if self._bar is not None:
            if kind is None and self._bar.total is not None:
                self._bar.update(self._bar.total - self._bar.n)
            self._bar.close()

    def show(self, counter: float) -> None:
        """Moves the bar to where `counter` is."""
        done = counter - self._start
        if self._bar is not None and done > self._last:
            self._bar.update(done - self._last)
            self._last = done
