"""Checks and converts the arguments of a search: unit vectors, batches of queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nextlong_rs.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from nextlong_rs.engine.pool import Pool

__all__ = ["blocks_of", "empty_results", "query_arrays", "row_numbers", "unit_rows"]

# Queries of one call: many, so that a block of rows is packed once for all of them.
_CALL_QUERIES = 4096

# Neighbours of one call: their candidates are held in memory.
_CALL_NEIGHBOURS = 1 << 20

# Values that are checked and normalised at once: few enough to stay in a cache.
_BLOCK_VALUES = 1 << 19


def query_arrays(
    queries: ArrayLike | None, count: int, dim: int
) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
    """Row numbers, or unit vectors beside an empty array."""
    if queries is None:
        return np.arange(count, dtype=np.int64), None
    array = _array(queries, "queries")
    if array.dtype.kind == "f" and (array.size or array.ndim == 2):
        values, _ = unit_rows(array, "queries")
        if values.shape[1] != dim:
            raise ConfigError(f"queries have {values.shape[1]} dimensions, vectors have {dim}")
        return np.empty(0, dtype=np.int64), values
    return row_numbers(array, count), None


def row_numbers(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    """Numbers below `count`, as int64."""
    array = _array(rows, "queries")
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise ConfigError(
            f"queries is a {array.ndim}-dimensional array of {array.dtype}; "
            "give row numbers [q] or float vectors [q, d]"
        )
    wrong = np.flatnonzero((array < 0) | (array >= count)) if array.size else array
    if wrong.size:
        raise ConfigError(f"query row {array[wrong[0]]} does not exist: there are {count} vectors")
    return np.ascontiguousarray(array, dtype=np.int64)


def unit_rows(
    array: ArrayLike, name: str, pool: Pool | None = None
) -> tuple[NDArray[np.float32], bool]:
    """The rows as float32 unit vectors, rows of zeros still zeros; whether float16 is too narrow."""
    values = _array(array, name)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ConfigError(f"{name} has the shape {values.shape}; it must be [rows, dimensions]")
    if values.dtype.kind != "f":
        raise ConfigError(
            f"{name} is of type {values.dtype}; it must be float16, float32 or float64"
        )
    unit = np.empty(values.shape, dtype=np.float32)
    wide = np.float64 if values.dtype.itemsize > 4 else np.float32
    rows = max(_BLOCK_VALUES // values.shape[1], 1)

    def divide(start: int) -> None:
        block: NDArray[Any] = values[start : start + rows].astype(wide)
        # Divide by the largest value first, so that no square overflows or vanishes.
        largest = np.abs(block).max(axis=1, keepdims=True)
        wrong = np.flatnonzero(~np.isfinite(largest))
        if wrong.size:
            raise ConfigError(
                f"row {start + wrong[0]} of {name} holds a value that is no finite number; remove it"
            )
        block /= np.where(largest > 0, largest, 1)
        length = np.sqrt(np.einsum("nd,nd->n", block, block))[:, None]
        unit[start : start + rows] = block / np.where(length > 0, length, 1)

    for _ in (map if pool is None else pool.in_order)(divide, range(0, len(values), rows)):
        pass
    return unit, values.dtype.itemsize > 2


def empty_results(count: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Uninitialised arrays for the ids and scores of `count` queries."""
    try:
        return np.empty((count, k), dtype=np.int64), np.empty((count, k), dtype=np.float32)
    except (MemoryError, ValueError) as error:
        raise ConfigError(
            f"k ({k:,}) neighbours of {count:,} queries are more than memory holds; "
            "search fewer queries at a time"
        ) from error


def _array(given: ArrayLike, name: str) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigError(
            f"{name} cannot be read as an array ({error}); give rows of one length"
        ) from error


def blocks_of(count: int, k: int, threads: int) -> list[slice]:
    """The queries of each call."""
    size = -(-count // (threads * 4))
    size = min(max(-(-size // 64) * 64, 64), _CALL_QUERIES, max(_CALL_NEIGHBOURS // k, 64))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
