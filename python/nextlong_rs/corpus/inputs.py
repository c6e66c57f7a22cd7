"""Lists the inputs of a run: the files, tables, datasets and iterables that the user names.

In: paths, folders, globs, tables, datasets, iterables. Out: inputs, numbered in an order that does not
depend on the file system.
"""

from __future__ import annotations

import glob
import hashlib
import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError, CorpusError

__all__ = ["Input", "describe", "resolve", "weights_of"]

_KINDS: Final = ".jsonl .json .ndjson (also .gz, .zst), .parquet, .txt, .md"
_LONGEST_PATH: Final = 4096
_PIECES: Final = 6
_PIECE_BYTES: Final = 1 << 13


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
            f"unsupported input type `{type(given).__name__}`: expected a path, an Arrow table, a "
            "`datasets.Dataset`, or an iterable of strings or mappings"
        )
    name = f"<{type(given).__name__}>"
    label = {"arrow": "table", "dataset": "dataset"}.get(kind, "item")
    yield Input(number=0, source=0, name=name, label=label, kind=kind, data=given)


def _files(given: str) -> Iterator[Input]:
    if not given or "\0" in given:
        raise ConfigError(f"invalid input {given!r}: expected a path")
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
            f"cannot read `{_printable(path)}`: unsupported file ending, expected one of {_KINDS}"
        )
    try:
        found = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise CorpusError(
            f"cannot read `{_printable(path)}`: a pipe, socket or device; hint: save its contents to a "
            "file"
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
        f"cannot read `{_printable(path)}`: {error.strerror or error}; hint: fix or exclude the file"
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
