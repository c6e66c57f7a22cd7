"""Ready vectors: made elsewhere, aligned with the chunks, one row for each.

In: an `.npy` array `[chunks, dim]` or a column of lists of floats in Parquet files. Out: float16
parts like those of an embedder.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.embed import checked_rows
from nextlong_rs.errors import ConfigError, EmbeddingError, MissingExtraError

__all__ = ["ReadyVectors"]


class ReadyVectors:
    """Vectors of a file, read range by range; never whole in memory.

    Args:
        source: An `.npy` file, a Parquet file, or Parquet files in the order of the chunks.
        column: The column of lists of floats; only for Parquet.

    Raises:
        ConfigError: A column is named for an `.npy` file, or none for Parquet.
        EmbeddingError: The file or the column holds no such vectors.
        MissingExtraError: pyarrow is missing.
        OSError: A file cannot be read.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        column: str | None = None,
    ) -> None:
        single = isinstance(source, str | os.PathLike)
        paths = [Path(source)] if single else [Path(path) for path in source]  # type: ignore[arg-type, union-attr]
        if not paths:
            raise ConfigError("no file of vectors was given")
        self._source: _Npy | _Parquet
        if single and paths[0].suffix == ".npy":
            if column is not None:
                raise ConfigError(f"{paths[0]} has no columns; leave out column ({column!r})")
            self._source = _Npy(paths[0])
        elif column is None:
            raise ConfigError(f"name the column of {paths[0]} that holds the vectors")
        else:
            self._source = _Parquet(paths, column)

    def __len__(self) -> int:
        """Count the rows."""
        return self._source.rows

    def check(self, chunks: int) -> None:
        """Check that there is a row for every chunk.

        Args:
            chunks: Chunks of the corpus.

        Raises:
            EmbeddingError: There is not.
        """
        if len(self) != chunks:
            raise EmbeddingError(
                f"{self._source.name} has {len(self)} rows, the corpus {chunks} chunks; make one "
                "vector for each chunk, in order"
            )

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read rows `start` to before `stop`, scaled to length 1.

        Args:
            start: The first row.
            stop: The row after the last one.

        Returns:
            Rows of length 1, `[rows, dim]`; rows of zeros stay.

        Raises:
            EmbeddingError: A row has another length, NaN or infinity.
        """
        if not 0 <= start <= stop <= len(self):
            raise ConfigError(f"rows {start} to {stop} were asked for, there are {len(self)}")
        given = self._source.read(start, stop)
        return checked_rows(given, rows=stop - start, name=self._source.name, first=start)

    def embed_part(self, start: int, stop: int, path: str | os.PathLike[str]) -> None:
        """Write rows as one float16 `.npy` part, whole or not at all.

        Args:
            start: The first row (chunk).
            stop: The row after the last one.
            path: The file.

        Raises:
            EmbeddingError: As `read`.
            OSError: The file cannot be written.
        """
        _nextlong.write_vectors(path, self.read(start, stop))


class _Npy:
    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise EmbeddingError(f"{path}: not an .npy array of numbers: {error}") from error
        if self._array.ndim != 2:
            raise EmbeddingError(f"{path}: shape {self._array.shape}; it must be (chunks, dim)")
        self.rows = int(self._array.shape[0])

    def read(self, start: int, stop: int) -> Any:
        return self._array[start:stop]


class _Parquet:
    def __init__(self, paths: list[Path], column: str) -> None:
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtraError(
                "vectors from Parquet need pyarrow: pip install 'nextlong_rs[parquet]'"
            ) from error
        self.name = f"column {column!r} of {paths[0]}" + (" …" if len(paths) > 1 else "")
        self._column = column
        self._groups: list[tuple[Any, int]] = []
        self._starts = [0]
        self._held: tuple[int, NDArray[Any]] | None = None
        for path in paths:
            try:
                file = pyarrow.parquet.ParquetFile(path)
            except pyarrow.ArrowInvalid as error:
                raise EmbeddingError(f"{path}: not a Parquet file: {error}") from error
            if column not in file.schema_arrow.names:
                names = ", ".join(file.schema_arrow.names)
                raise EmbeddingError(f"{path} has no column {column!r}; it has {names}")
            for group in range(file.num_row_groups):
                self._groups.append((file, group))
                self._starts.append(self._starts[-1] + file.metadata.row_group(group).num_rows)
        self.rows = self._starts[-1]

    def read(self, start: int, stop: int) -> Any:
        parts = []
        row = start
        while row < stop:
            number = bisect_right(self._starts, row) - 1
            low = self._starts[number]
            end = min(stop, self._starts[number + 1])
            parts.append(self._group(number)[row - low : end - low])
            row = end
        if len({part.shape[1] for part in parts}) > 1:
            raise EmbeddingError(f"{self.name}: lists of unequal length in rows {start} to {stop}")
        return np.concatenate(parts) if parts else np.empty((0, 1), dtype=np.float32)

    def _group(self, number: int) -> NDArray[Any]:
        if self._held is not None and self._held[0] == number:
            return self._held[1]
        file, group = self._groups[number]
        column = file.read_row_group(group, columns=[self._column])[self._column].combine_chunks()
        rows = len(column)
        first = self._starts[number]
        if column.null_count:
            missing = first + int(np.flatnonzero(column.is_null().to_numpy(False))[0])
            raise EmbeddingError(f"{self.name}: row {missing} has no vector")
        try:
            values = column.flatten()
            if values.null_count:
                raise EmbeddingError(
                    f"{self.name}: a vector of rows {first} on has a missing value"
                )
            lengths = column.value_lengths().to_numpy(False)
            flat = values.to_numpy(False)
        except (AttributeError, NotImplementedError) as error:
            raise EmbeddingError(
                f"{self.name} holds {column.type}; give lists of floats"
            ) from error
        if rows and (lengths != lengths[0]).any():
            other = int(np.flatnonzero(lengths != lengths[0])[0])
            raise EmbeddingError(
                f"{self.name}: row {first + other} has {lengths[other]} values, "
                f"row {first} has {lengths[0]}"
            )
        array: NDArray[Any] = flat.reshape(rows, -1)
        self._held = (number, array)
        return array
