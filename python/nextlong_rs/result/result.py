"""A finished run: its summary, its sequences, and how to read them.

In: the folder of a run (``part-*.parquet``, ``manifest.json``). Out: its rows as Arrow, as a
``datasets.Dataset``, one by one, or explained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextlong_rs.errors import MissingExtraError, RunError
from nextlong_rs.result.explain import Explanation, explain, stored_chunks
from nextlong_rs.result.groups import table

if TYPE_CHECKING:
    from os import PathLike

    import datasets
    import pyarrow as pa

__all__ = ["Result"]


_ROWS = 16
"""Sequences that are held while one goes through them all."""


@dataclass(frozen=True)
class Result:
    """The sequences of a finished run; ``print`` it for what was read, made and rejected.

    Attributes:
        path: The folder of the run.
        files: The Parquet files, in the order of the sequences.
        manifest: What the run wrote down about itself.
    """

    path: Path
    files: tuple[Path, ...]
    manifest: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Result:
        """Open the folder of a finished run.

        Args:
            path: The folder given as ``output``.

        Returns:
            The run's result.

        Raises:
            RunError: The folder holds no ``manifest.json``, or a damaged one.
        """
        folder = Path(path)
        manifest = folder / "manifest.json"
        try:
            content = json.loads(manifest.read_text("utf-8"))
        except FileNotFoundError:
            raise RunError(f"{folder} holds no finished run: manifest.json is missing") from None
        except (ValueError, RecursionError, OSError) as error:
            raise RunError(f"{manifest} is damaged ({error}); make the run again") from None
        if not isinstance(content, dict):
            raise RunError(f"{manifest} holds no JSON object; make the run again")
        if not isinstance(content.get("summary", {}), dict):
            raise RunError(f"{manifest}: summary is no JSON object; make the run again")
        return cls(folder, tuple(sorted(folder.glob("part-*.parquet"))), content)

    def __len__(self) -> int:
        """Count the sequences."""
        return sum(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Read one sequence, as `sequence` does."""
        return self.sequence(number)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the sequences one after another, a row group in memory at a time."""
        _, parquet = _pyarrow()
        for path in self.files:
            with _reading(path), parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_ROWS):
                    yield from batch.to_pylist()

    def __str__(self) -> str:
        """Sum the run up, one group of the manifest's summary after another."""
        summary = dict(self.manifest.get("summary", {}))
        groups = summary.get("groups")
        lines = []
        if isinstance(groups, list) and all(isinstance(one, Mapping) for one in groups):
            del summary["groups"]
            lines = ["  groups", *(f"    {line}" for line in table(groups))]
        files = f"{len(self.files)} Parquet file{'' if len(self.files) == 1 else 's'}"
        measured = self.path / "work" / "measured.json"
        if measured.is_file():
            with suppress(ValueError, RecursionError):
                summary = {**summary, "measured": json.loads(measured.read_text("utf-8"))}
        return "\n".join([f"{self.path} ({files})", *_lines(summary, "  "), *lines])

    def to_arrow(self) -> pa.Table:
        """Read all sequences.

        Returns:
            The columns of the Parquet files, one row a sequence.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        pyarrow, parquet = _pyarrow()
        if not self.files:
            raise RunError(f"{self.path} holds no sequences")
        with _reading(self.path):
            files = [parquet.read_table(file) for file in self.files]
            table: pa.Table = pyarrow.concat_tables(files)
        return table

    def to_dataset(self, *, progress: bool = False) -> datasets.Dataset:
        """Load all sequences as a ``datasets.Dataset``, memory-mapped.

        Args:
            progress: Whether `datasets` shows its bars.

        Returns:
            One row a sequence.

        Raises:
            MissingExtraError: datasets is not installed.
        """
        try:
            import datasets
        except ImportError:
            raise MissingExtraError(
                "to_dataset() needs datasets: pip install 'nextlong_rs[datasets]'"
            ) from None
        if not self.files:
            raise RunError(f"{self.path} holds no sequences")
        quiet = not progress and not datasets.are_progress_bars_disabled()
        if quiet:
            datasets.disable_progress_bars()
        try:
            loaded = datasets.Dataset.from_parquet([str(file) for file in self.files])
        finally:
            if quiet:
                datasets.enable_progress_bars()
        assert isinstance(loaded, datasets.Dataset)
        return loaded

    def sequence(self, number: int) -> dict[str, Any]:
        """Read one sequence.

        Args:
            number: From 0; negative numbers count from the end.

        Returns:
            Its row, column by column.

        Raises:
            IndexError: There is no such sequence.
            MissingExtraError: pyarrow is not installed.
        """
        count = len(self)
        row = number + count if number < 0 else number
        if not 0 <= row < count:
            raise IndexError(f"sequence {number} of {count}")
        for file, rows in zip(self.files, self._rows, strict=True):
            if row < rows:
                return _read_row(file, row)
            row -= rows
        raise RunError(
            f"the files of `{self.path}` changed since this result was opened; hint: open it again"
        )

    def explain(self, number: int) -> Explanation:
        """Say who is who in one sequence: meta-chunks, negatives, similarity, source.

        Args:
            number: From 0; negative numbers count from the end.

        Returns:
            The explanation; its ``str`` is a table. Texts and sources are in it as long as the
            run's ``work`` folder is there.

        Raises:
            IndexError: There is no such sequence.
            MissingExtraError: pyarrow is not installed.
        """
        row = self.sequence(number)
        with _reading(self.path):
            chunks = stored_chunks(self.path / "work", number % len(self))
            return explain(row, chunks, self.manifest.get("inputs", ()))

    @cached_property
    def _rows(self) -> list[int]:
        _, parquet = _pyarrow()
        with _reading(self.path):
            return [parquet.read_metadata(file).num_rows for file in self.files]


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "reading a result needs pyarrow: pip install 'nextlong_rs[arrow]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _read_row(path: Path, row: int) -> dict[str, Any]:
    _, parquet = _pyarrow()
    with _reading(path), parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                found: dict[str, Any] = file.read_row_group(group).slice(row, 1).to_pylist()[0]
                return found
            row -= rows
    raise RunError(f"{path}: damaged, its row groups lack rows; make the run again")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Says of a damaged file of the run that it is one, whatever its reader says."""
    pyarrow, _ = _pyarrow()
    try:
        yield
    except (
        pyarrow.ArrowException,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise RunError(f"{path}: damaged or missing ({error}); make the run again") from error


def _lines(group: Mapping[str, Any], indent: str, of: str = "") -> Iterator[str]:
    width = max(
        (len(key) for key, value in group.items() if not isinstance(value, Mapping)), default=0
    )
    for key, value in group.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ", key)
        else:
            yield f"{indent}{name:<{width}}  {_shown(key, value, of)}"


def _shown(key: str, value: object, group: str = "") -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int | float):
        if key.endswith("seconds") or group == "seconds":
            return f"{value:,.2f} s"
        if key.endswith("bytes"):
            return _bytes(value)
        return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_shown(key, item) for item in value)
    return str(value)


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
