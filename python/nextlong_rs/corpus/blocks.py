"""Reads the inputs of a run block by block, and counts the rows that cannot be used.

In: inputs. Out: blocks of documents, whose borders depend on the inputs and the block size alone. The
texts stay outside Python.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from nextlong_rs import _nextlong
from nextlong_rs._nextlong import Block, Documents
from nextlong_rs.corpus.inputs import Input
from nextlong_rs.errors import ConfigError, CorpusError, MissingExtraError
from nextlong_rs.rules import checked

__all__ = [
    "BLOCK_BYTES",
    "Block",
    "CorpusConfig",
    "Documents",
    "check_error_rate",
    "read_blocks",
]

#: The size of a block unless said otherwise: 16 MiB after decompression.
BLOCK_BYTES: Final = 16 << 20

_ROWS_BEFORE_JUDGEMENT: Final = 100
_DATASET_ROWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """Which columns hold what, and which rows can be used.

    Args:
        text_column: The column (key) of the texts. Default ``"text"``.
        id_column: The column of the ids, which must then be in every row. Default None: ``"id"``
            where a row has it, else ``"<name of the input>:<row>"`` with rows counted from 1.
        score_column: A column of finite numbers of at least 0, larger for better documents.
            Default None.
        source_column: A column of texts, numbers or booleans that name the sources of documents.
            Default None.
        max_document_bytes: The most UTF-8 bytes a text may have. Default 256 MiB. A line of JSON
            may have three times that and 1 MiB; a longer one is passed without being held.
        max_error_rate: The share of bad rows, 0 to 1, above which a run stops. Default 0.01.

    Raises:
        ConfigError: When a value is outside its range.
    """

    text_column: str = "text"
    id_column: str | None = None
    score_column: str | None = None
    source_column: str | None = None
    max_document_bytes: int = 256 << 20
    max_error_rate: float = 0.01

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name)))

    def to_json(self) -> str:
        """The settings that the reader needs, as the core takes them."""
        return json.dumps(
            {
                "text_column": self.text_column,
                "id_column": self.id_column,
                "score_column": self.score_column,
                "source_column": self.source_column,
                "max_document_bytes": self.max_document_bytes,
            }
        )


def read_blocks(
    inputs: Iterable[Input],
    config: CorpusConfig | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
    start: tuple[int, int] = (0, 0),
    most_held: int | None = None,
    watch: _nextlong.Watch | None = None,
) -> Iterator[Block]:
    """Read and decompress the inputs, block by block; ``Block.parse()`` does the rest anywhere.

    Args:
        inputs: What `resolve` gave. An input that is an iterator can be read once.
        config: Columns and limits. Default: ``CorpusConfig()``.
        block_bytes: The size of a block, in bytes after decompression: whole rows up to this size,
            or one longer row. Default 16 MiB.
        start: The place in the first input, a file, at which to begin: what `Block.next` gave behind
            the input's number. Plain JSON lines and Parquet are entered there; compressed lines
            are decompressed up to it, unheld. Default: its beginning.
        most_held: Bytes of a line of JSON that may be held; a longer one that may yet be a document
            is an error. Default None: any.
        watch: Stops the reading when it is cancelled. Default None.

    Yields:
        The blocks, in order. Their borders depend on the inputs and ``block_bytes`` alone.

    Raises:
        CorpusError: When an input cannot be read, is damaged or lacks a column.
        ConfigError: When `block_bytes` is not positive.
    """
    if block_bytes < 1:
        raise ConfigError(
            f"invalid `block_bytes`: {block_bytes}, expected a whole number of at least 1"
        )
    settings = (config or CorpusConfig()).to_json()
    for in_memory, group in itertools.groupby(inputs, key=lambda one: one.path is None):
        if not in_memory:
            files = [(one.number, str(one.path), one.name, one.label, one.kind) for one in group]
            reader = _nextlong.BlockReader.of_files(files, settings, block_bytes, start, most_held)
            yield from _drain(reader, watch)
            start = (0, 0)
            continue
        for one in group:
            data = _dataset_stream(one.data) if one.kind == "dataset" else one.data
            rest = (one.number, one.name, one.label, settings, block_bytes)
            if one.kind == "items":
                reader = _nextlong.BlockReader.of_items(data, *rest)
            else:
                reader = _nextlong.BlockReader.of_arrow(data, *rest)
            yield from _drain(reader, watch)


def check_error_rate(
    rows: int,
    bad: Mapping[str, int],
    config: CorpusConfig,
    *,
    quarantine: str | os.PathLike[str] = "quarantine.jsonl",
    at_end: bool = False,
) -> None:
    """Stop a run whose rows are too often bad.

    Args:
        rows: The rows read so far, good and bad.
        bad: The bad ones by reason, as ``Documents.bad_counts()`` gives them.
        config: Its `max_error_rate` is the limit.
        quarantine: The file that lists the bad rows, for the message.
        at_end: Whether all rows were read; before, at least 100 rows are asked for.

    Raises:
        CorpusError: When the share of bad rows is above the limit.
    """
    count = sum(bad.values())
    if (rows >= _ROWS_BEFORE_JUDGEMENT or at_end) and count > rows * config.max_error_rate:
        reasons = ", ".join(f"{reason}: {bad[reason]}" for reason in sorted(bad))
        raise CorpusError(
            f"{count} of {rows} rows cannot be used ({reasons}), more than max_error_rate "
            f"({config.max_error_rate}) allows; see {os.fspath(quarantine)}, mend the input or "
            "raise max_error_rate"
        )


def _drain(reader: _nextlong.BlockReader, watch: _nextlong.Watch | None) -> Iterator[Block]:
    while (block := reader.next(watch)) is not None:
        yield block


def _dataset_stream(dataset: Any) -> Any:
    """The rows of a `datasets.Dataset` as an Arrow stream, its selections and shuffles applied."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError(
            "a datasets.Dataset is read through pyarrow; pip install 'nextlong_rs[datasets]'"
        ) from error
    schema = dataset.features.arrow_schema
    tables = dataset.with_format("arrow").iter(batch_size=_DATASET_ROWS)
    batches = (batch for table in tables for batch in table.cast(schema).to_batches())
    return pa.RecordBatchReader.from_batches(schema, batches)
