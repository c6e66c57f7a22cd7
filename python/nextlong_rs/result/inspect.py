"""Prints the first sequences of a run: ``nextlong inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from nextlong_rs.errors import ConfigError
from nextlong_rs.result.result import Result

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["inspect"]


def inspect(path: str | PathLike[str], n: int = 3, *, file: TextIO | None = None) -> None:
    """Print who is who in the first sequences of a run.

    Args:
        path: The folder of the run.
        n: How many sequences, 3 by default; fewer where the run has fewer.
        file: Where to print; standard output by default.

    Raises:
        ConfigError: `n` is no count.
        RunError: The folder holds no finished run.
        MissingExtraError: pyarrow is not installed.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigError(f"n is {n!r}, expected a number of sequences of at least 1")
    result = Result.open(path)
    for number in range(min(n, len(result))):
        print(result.explain(number), end="\n\n", file=file)
