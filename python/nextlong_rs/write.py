"""Sequences to files: Parquet, the canonical format.

In: sequences, as the room before hands them over. Out: files that are whole or not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import Any

from nextlong_rs import _nextlong
from nextlong_rs._nextlong import Sequences

__all__ = ["Sequences", "parquet"]


def parquet(
    path: str | PathLike[str],
    sequences: Sequences,
    metadata: Mapping[str, Any],
    *,
    watch: _nextlong.Watch | None = None,
) -> tuple[int, int]:
    """Write sequences as a Parquet file: tokens, and where every span of them came from.

    Readable by ``datasets.load_dataset("parquet", …)``, polars, duckdb and pyarrow. The same
    sequences and metadata give the same bytes. zstd level 3; token ids split by byte; row groups
    of 64 MiB of tokens.

    Args:
        path: Where the file appears when it is complete.
        sequences: What to write.
        metadata: What the file keeps as JSON under its key ``nextlong``: settings, tokenizer hash,
            versions.
        watch: Counts the tokens written, and stops the writing. Default None.

    Returns:
        The rows and the bytes written.

    Raises:
        OSError: When the file cannot be written.
    """
    return _nextlong.write_parquet(
        path, sequences, json.dumps(dict(metadata), sort_keys=True), watch
    )
