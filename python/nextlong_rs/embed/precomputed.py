"""Precomputed embeddings: one row for each chunk, in the order of the chunks.

In: an `.npy` array `[chunks, dim]` or a column of lists of floats in Parquet files. Out: float16
parts like those of an embedder.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError, EmbeddingError, MissingExtraError

if TYPE_CHECKING:
    from nextlong_rs._nextlong import ChunkStore, Watch

__all__ = ["ReadyVectors", "checked_rows"]


class ReadyVectors:
    """Vectors of a file, read range by range; never whole in memory.

    Args:
        source: An array, an `.npy` file, a Parquet file, or Parquet files in the order of the chunks.
        column: The column of lists of floats; only for Parquet.

    Raises:
        ConfigError: A column is named for an `.npy` file, or none for Parquet.
        EmbeddingError: The file or the column holds no such vectors.
        MissingExtraError: pyarrow is missing.
        OSError: A file cannot be read.
    """

    def __init__(
        self,
        source: NDArray[Any] | str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        column: str | None = None,
    ) -> None:
        self._source: _Npy | _Parquet
        if isinstance(source, np.ndarray):
            self._source = _Npy(source, "the array of vectors")
            return
        single = isinstance(source, str | os.PathLike)
        paths = [Path(source)] if single else [Path(path) for path in source]  # type: ignore[arg-type, union-attr]
        if not paths:
            raise ConfigError("no file of vectors was given")
        if single and paths[0].suffix == ".npy":
            if column is not None:
                raise ConfigError(f"{paths[0]} has no columns; leave out column ({column!r})")
            self._source = _Npy(_mapped(paths[0]), str(paths[0]))
        elif column is None:
            raise ConfigError(f"name the column of {paths[0]} that holds the vectors")
        else:
            self._source = _Parquet(paths, column)

    on_main_thread = True

    @property
    def name(self) -> str:
        """Where the vectors come from."""
        return self._source.name

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

    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | os.PathLike[str],
        watch: Watch | None = None,
    ) -> None:
        """Write the rows of chunks as one float16 `.npy` part, whole or not at all.

        Args:
            store: The chunks of the corpus.
            start: The first chunk.
            stop: The chunk after the last one.
            path: The file.
            watch: Counts a unit for each chunk.

        Raises:
            EmbeddingError: As `read`, or the store has another number of chunks.
            OSError: The file cannot be written.
        """
        self.check(len(store))
        _nextlong.write_vectors(path, self.read(start, stop))
        if watch is not None:
            watch.add(stop - start)


def checked_rows(given: Any, *, rows: int, name: str, first: int = 0) -> NDArray[np.float32]:
    """Check that `given` is `[rows, dim]` finite numbers, and scale its rows to length 1.

    Args:
        given: An array, or what numpy makes one of.
        rows: The rows it must have.
        name: Of the array, for messages.
        first: The number of its first row, for messages.

    Returns:
        C-contiguous rows of length 1; rows of zeros stay.

    Raises:
        EmbeddingError: Another shape, another kind of value, NaN or infinity.
    """
    try:
        array = np.asarray(given)
    except Exception as error:
        kind = type(given).__name__
        raise EmbeddingError(
            f"{name} is a {kind}, which numpy makes no array of ({error}); give a numpy array"
        ) from error
    if array.dtype.kind not in "fiu":
        raise EmbeddingError(f"{name} has values of type {array.dtype}; give numbers")
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0:
        raise EmbeddingError(f"{name} has shape {array.shape}; it must be ({rows}, dim)")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        row, column = (int(place) for place in np.argwhere(~finite)[0])
        raise EmbeddingError(
            f"{name} holds {array[row, column]} in row {first + row}, column {column}; every value "
            "must be a finite number"
        )
    return _nextlong.normalise_rows(values)


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise EmbeddingError(f"{path}: not an .npy array of numbers: {error}") from error
    return array


class _Npy:
    def __init__(self, array: NDArray[Any], name: str) -> None:
        if array.ndim != 2:
            raise EmbeddingError(f"{name}: shape {array.shape}; it must be (chunks, dim)")
        self.name = name
        self.rows = int(array.shape[0])
        self._array = array

    def read(self, start: int, stop: int) -> Any:
        return self._array[start:stop]


class _Parquet:
    def __init__(self, paths: list[Path], column: str) -> None:
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtraError(
                "vectors from Parquet need pyarrow: pip install 'nextlong_rs[arrow]'"
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
