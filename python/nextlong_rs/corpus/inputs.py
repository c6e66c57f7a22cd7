"""The corpus: what the user names becomes a listing of inputs, and the inputs blocks of documents.

In: paths, folders, globs, tables, datasets, iterables. Out: blocks, in an order and with borders
that depend on the inputs and the block size alone. The texts stay outside Python.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nextlong_rs import _nextlong
from nextlong_rs._nextlong import Block, Documents
from nextlong_rs.errors import ConfigError, CorpusError, MissingExtraError

__all__ = [
    "BLOCK_BYTES",
    "Block",
    "CorpusConfig",
    "Documents",
    "Input",
    "check_error_rate",
    "read_blocks",
    "resolve",
]

#: The size of a block unless said otherwise: 16 MiB after decompression.
BLOCK_BYTES: Final = 16 << 20

_KINDS: Final = ".jsonl .json .ndjson (also .gz, .zst), .parquet, .txt, .md"
_ROWS_BEFORE_JUDGEMENT: Final = 100
_LONGEST_PATH: Final = 4096
_DATASET_ROWS: Final = 1000
_PIECES: Final = 6
_PIECE_BYTES: Final = 1 << 13


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
        for name in ("text_column", "id_column", "score_column", "source_column"):
            value = getattr(self, name)
            optional = name != "text_column" and value is None
            if not optional and not (isinstance(value, str) and value):
                raise ConfigError(f"{name} ({value!r}) must be the name of a column")
        if not (type(self.max_document_bytes) is int and 0 < self.max_document_bytes < 1 << 48):
            raise ConfigError(
                f"max_document_bytes ({self.max_document_bytes!r}) must be a whole number above 0"
            )
        rate = self.max_error_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ConfigError(f"max_error_rate ({rate!r}) must be a share from 0 to 1")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a run: a file, a table or an iterable.

    Args:
        number: Its number in the listing, from 0; the ``input`` of every chunk it gives.
        source: Which of the things the user named it belongs to, from 0.
        name: What messages and the quarantine call it.
        label: What made ids begin with: the path inside the named folder or glob, or the file's
            name; the whole name where another input has that label too.
        kind: ``"jsonl"``, ``"jsonl.gz"``, ``"jsonl.zst"``, ``"parquet"``, ``"text"``,
            ``"arrow"``, ``"dataset"`` or ``"items"``.
        weight: The weight of its source; None where none was given.
        size: Bytes of the file; None where there is no file.
        mtime_ns: When the file was last changed, in ns; None where there is no file.
        path: Where the file lies; None where there is no file.
        data: The table, dataset or iterable itself; None for a file.
    """

    number: int
    source: int
    name: str
    label: str
    kind: str
    weight: float | None = None
    size: int | None = None
    mtime_ns: int | None = None
    path: str | None = None
    data: Any = field(default=None, repr=False, compare=False)


def resolve(inputs: object) -> list[Input]:
    """List the inputs, in an order that the file system has no say in.

    Args:
        inputs: A path, a folder (walked through, sorted; hidden names and names of unknown kinds
            are passed over), a glob (``**`` too), a ``pyarrow.Table`` or anything else with an
            Arrow stream, a ``datasets.Dataset``, an iterable of strings or mappings; or several of
            those: a list, a list of ``(input, weight)``, or a mapping from paths to weights. A
            list of strings is a list of paths, unless one of them can be no path (it holds a line
            break); to pass one-line texts in a list, pass ``iter(texts)``.

    Returns:
        The inputs, numbered; the files of a folder or glob one by one.

    Raises:
        ConfigError: When the argument is of no kind above, a weight is no positive number, or a
            file is named twice.
        CorpusError: When a path or glob matches nothing that can be read.

    Example:
        >>> [(one.kind, one.weight) for one in resolve([(iter(["a text"]), 2.0)])]
        [('items', 2.0)]
    """
    listing: list[Input] = []
    seen: dict[str, str] = {}
    for source, (given, weight) in enumerate(_sources(inputs)):
        for found in _one(given):
            if found.path is not None:
                real = os.path.realpath(found.path)
                if real in seen:
                    raise ConfigError(
                        f"{found.name} is named twice (as {seen[real]} before); name it once"
                    )
                seen[real] = found.name
            listing.append(replace(found, number=len(listing), source=source, weight=weight))
    if not listing:
        raise CorpusError(f"no inputs in {inputs!r}; name at least one")
    return _with_unique_labels(listing)


def describe(one: Input) -> dict[str, Any]:
    """An input as `run.json` and the manifest list it."""
    return {
        "name": one.name,
        "kind": one.kind,
        "bytes": one.size,
        "mtime_ns": one.mtime_ns,
        "sample": None if one.path is None else _content_sample(one.path, one.size or 0),
        "weight": one.weight,
    }


def _content_sample(path: str, size: int) -> str:
    """A hash of some pieces of a file, its ends among them: all of it, where it is small.

    A file that was changed and given its old size and time is known by it, nearly always.
    """
    last = max(size - _PIECE_BYTES, 0)
    places = sorted({last * piece // _PIECES for piece in range(_PIECES + 1)})
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            for place in places:
                file.seek(place)
                digest.update(file.read(_PIECE_BYTES))
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def weights_of(listing: Sequence[Input]) -> tuple[list[int], list[float]]:
    """The source of every input and the weight of every source; both empty where none was given."""
    if all(one.weight is None for one in listing):
        return [], []
    weights = {one.source: 1.0 if one.weight is None else one.weight for one in listing}
    return [one.source for one in listing], [
        weights.get(source, 1.0) for source in range(max(weights) + 1)
    ]


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
        raise ConfigError(f"block_bytes ({block_bytes}) must be above 0")
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


def _sources(inputs: object) -> Iterator[tuple[object, float | None]]:
    """The things that the user named, with their weights."""
    if isinstance(inputs, Mapping):
        if _is_of_datasets(inputs):
            raise ConfigError(
                f"a {type(inputs).__name__} of several splits; pass one of them, for example "
                f"dataset[{next(iter(inputs), 'train')!r}]"
            )
        for given, weight in inputs.items():
            if not isinstance(given, str | os.PathLike):
                raise ConfigError(
                    f"inputs maps {given!r} to a weight; name a path, or pass a list of "
                    "(input, weight)"
                )
            yield given, _weight(given, weight)
    elif isinstance(inputs, list | tuple) and not _is_documents(inputs):
        for given in inputs:
            if isinstance(given, tuple) and len(given) == 2 and _is_number(given[1]):
                yield given[0], _weight(given[0], given[1])
            else:
                yield given, None
    else:
        yield inputs, None


def _is_documents(inputs: list[object] | tuple[object, ...]) -> bool:
    """Whether a list holds documents themselves and not inputs."""
    if inputs and all(isinstance(one, Mapping) for one in inputs):
        return True
    if not inputs or not all(isinstance(one, str) for one in inputs):
        return False
    no_path = any("\n" in str(one) or len(str(one)) > _LONGEST_PATH for one in inputs)
    return no_path and not any(_exists(str(one)) for one in inputs)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False


def _is_of_datasets(given: object) -> bool:
    return type(given).__module__.partition(".")[0] == "datasets"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _weight(given: object, weight: object) -> float:
    if isinstance(weight, int | float) and not isinstance(weight, bool):
        number = float(weight)
        if math.isfinite(number) and number > 0:
            return number
    raise ConfigError(f"the weight of {_shown(given)} ({weight!r}) must be a number above 0")


def _shown(given: object) -> str:
    if isinstance(given, str | os.PathLike):
        return _printable(os.fspath(given))
    return f"a {type(given).__name__}"


def _printable(path: str | bytes) -> str:
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def _one(given: object) -> Iterator[Input]:
    """The inputs of one thing that the user named; number, source and weight are filled in later."""
    if isinstance(given, str | os.PathLike):
        yield from _files(os.fsdecode(given))
        return
    kind = None
    if _is_of_datasets(given) and hasattr(given, "with_format") and hasattr(given, "__len__"):
        kind = "dataset"
    if kind is None and hasattr(given, "__arrow_c_stream__"):
        kind = "arrow"
    if kind is None and isinstance(given, Iterable) and not isinstance(given, bytes | Mapping):
        kind = "items"
    if kind is None:
        raise ConfigError(
            f"an input is {type(given).__name__}, which is no path, no table, no dataset and no "
            "iterable of strings or mappings"
        )
    name = f"<{type(given).__name__}>"
    label = {"arrow": "table", "dataset": "dataset"}.get(kind, "item")
    yield Input(number=0, source=0, name=name, label=label, kind=kind, data=given)


def _files(given: str) -> Iterator[Input]:
    if not given or "\0" in given:
        raise ConfigError(f"an input is {given!r}, which is no path")
    if os.path.isdir(given):
        found = _folder(given)
        if not found:
            raise CorpusError(f"{_printable(given)}: no file of a known kind in it ({_KINDS})")
        for path in found:
            yield _file(path, os.path.relpath(path, given))
    elif _exists(given):
        yield _file(given, os.path.basename(given))
    elif glob.has_magic(given):
        matches = sorted(glob.glob(given, recursive=True), key=_path_order)
        paths = [path for path in matches if os.path.isfile(path) and _nextlong.corpus_kind(path)]
        paths = paths or [
            inner for path in matches if os.path.isdir(path) for inner in _folder(path)
        ]
        if not paths:
            what = "only names of unknown kinds" if matches else "nothing"
            raise CorpusError(f"{_printable(given)}: matches {what}; name files of kinds {_KINDS}")
        root = os.path.dirname(given)
        while glob.has_magic(root):
            root = os.path.dirname(root)
        for path in paths:
            yield _file(path, os.path.relpath(path, root or os.curdir))
    else:
        raise CorpusError(
            f"{_printable(given)}: no such file or folder; to pass texts themselves, pass an "
            "iterator: iter(texts)"
        )


def _folder(folder: str) -> list[str]:
    """The files of known kinds below `folder`, sorted by their path in it."""
    found: list[str] = []

    def refuse(error: OSError) -> None:
        raise _unreadable(os.fsdecode(error.filename or folder), error) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        # What a run left is no corpus.
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "_"))
            and not os.path.isfile(os.path.join(place, name, "work", "run.json"))
        ]
        for name in names:
            if not name.startswith((".", "_")) and _nextlong.corpus_kind(name):
                found.append(os.path.join(place, name))
    return sorted(found, key=_path_order)


def _path_order(path: str) -> tuple[bytes, ...]:
    return tuple(os.fsencode(part) for part in Path(path).parts)


def _file(path: str, label: str) -> Input:
    kind = _nextlong.corpus_kind(path)
    if kind is None:
        raise CorpusError(
            f"{_printable(path)}: its name tells no known kind; rename it to one of {_KINDS}"
        )
    try:
        found = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise CorpusError(
            f"{_printable(path)}: a pipe, socket or device, no file; write what it gives to a file"
        )
    return Input(
        number=0,
        source=0,
        name=_printable(path),
        label=_printable(label).replace(os.sep, "/"),
        kind=kind,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        path=path,
    )


def _unreadable(path: str, error: OSError) -> CorpusError:
    return CorpusError(
        f"{_printable(path)}: cannot be read ({error.strerror or error}); mend it or leave it out"
    )


def _with_unique_labels(listing: list[Input]) -> list[Input]:
    """Made ids must differ: where two labels are the same, the names of files and numbers serve."""
    counts = Counter(one.label for one in listing)
    return [
        one
        if counts[one.label] == 1
        else replace(one, label=one.name if one.path is not None else f"{one.label}-{one.number}")
        for one in listing
    ]


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
