"""Hostile files: each ends in the quarantine or in one clear error, named in a table."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from tests.support.hostile import GOOD, lines, outcome, text

from nextlong_rs.corpus.blocks import read_blocks
from nextlong_rs.corpus.inputs import resolve
from nextlong_rs.stage import prepare

MIB = 1 << 20
GZIP = gzip.compress(lines())
ZSTD = zstandard.compress(lines())


def endless(fill: bytes, mebibytes: int, kind: str, head: bytes = b"") -> bytes:
    """The good corpus, one line of `fill` that has no end, the good corpus; compressed."""
    packer: Any = zstandard.ZstdCompressor(level=1).compressobj()
    if kind == "gz":
        import zlib

        packer = zlib.compressobj(1, wbits=31)
    block = fill * (MIB // len(fill))
    parts = [packer.compress(lines() + head)]
    parts += [packer.compress(block) for _ in range(mebibytes)]
    parts += [packer.compress(b"\n" + lines()), packer.flush()]
    return b"".join(parts)


FILES: dict[str, tuple[str, Callable[[], bytes], str | dict[str, int]]] = {
    # name: (file name, bytes, the quarantine or how the error begins)
    "broken JSON": (
        "a.jsonl",
        lambda: lines(b'{"text": "x', b'{"text"', b'{"text": "a"]', b"{]", b'{"text": "a"} {}'),
        {"broken JSON": 5},
    ),
    "deep nesting": (
        "a.jsonl",
        lambda: lines(b'{"text":' + b"[" * 200_000, b'{"a":' * 100_000),
        {"JSON nested too deeply": 2},
    ),
    "duplicate keys": ("a.jsonl", lambda: lines(b'{"text": 1, "text": "a b"}'), {}),
    "NaN": (
        "a.jsonl",
        lambda: lines(b'{"text": NaN}', b'{"text": "a", "b": -Infinity}'),
        {"broken JSON": 2},
    ),
    "lone surrogates": (
        "a.jsonl",
        lambda: lines(b'{"text": "a\\ud800b"}', b'{"text": "\\udc00\\ud800"}'),
        {"lone surrogate": 2},
    ),
    "NUL": (
        "a.jsonl",
        lambda: lines(b'{"text": "a\0b"}', b'{"text": "a\\u0000b"}', b"\0" * 99),
        {"broken JSON": 2},
    ),
    "BOM": ("a.jsonl", lambda: b"\xef\xbb\xbf" + lines(), {}),
    "UTF-16": ("a.jsonl", lambda: lines().decode().encode("utf-16"), "CorpusError: 21 of 21 rows"),
    "CRLF": ("a.jsonl", lambda: lines().replace(b"\n", b"\r\n"), {}),
    "CR alone": ("a.jsonl", lambda: lines().replace(b"\n", b"\r"), "CorpusError: 1 of 1 rows"),
    "invalid UTF-8": (
        "a.jsonl",
        lambda: lines(b'{"text": "\xff\xfe"}', b"\xc0\x80"),
        {"invalid UTF-8": 2},
    ),
    "empty": ("a.jsonl", lambda: b"", "CorpusError: the corpus has no usable text"),
    "blank": ("a.jsonl", lambda: b" \n\t\r\n" * 99, "CorpusError: the corpus has no usable text"),
    "empty gz": ("a.jsonl.gz", lambda: b"", "CorpusError:"),
    "empty zst": ("a.jsonl.zst", lambda: b"", "CorpusError:"),
    "truncated gz": ("a.jsonl.gz", lambda: GZIP[:-100], "CorpusError:"),
    "gz without its end": ("a.jsonl.gz", lambda: GZIP[:-3], "CorpusError:"),
    "truncated zst": ("a.jsonl.zst", lambda: ZSTD[:-100], "CorpusError:"),
    "gz with junk behind": ("a.jsonl.gz", lambda: GZIP + b"junk", "CorpusError:"),
    "zst with junk behind": ("a.jsonl.zst", lambda: ZSTD + b"junk", "CorpusError:"),
    "jsonl that is gzip": (
        "a.jsonl",
        lambda: GZIP,
        "CorpusError: cannot read `{path}`: not JSON Lines but gzip",
    ),
    "jsonl that is zstd": (
        "a.jsonl",
        lambda: ZSTD,
        "CorpusError: cannot read `{path}`: not JSON Lines but Zstandard",
    ),
    "jsonl that is Parquet": (
        "a.jsonl",
        lambda: b"PAR1" * 9,
        "CorpusError: cannot read `{path}`: not JSON Lines but Parquet",
    ),
    "gz that is plain": ("a.jsonl.gz", lines, "CorpusError:"),
    "feather": (
        "a.feather",
        lambda: b"ARROW1",
        "CorpusError: cannot read `{path}`: unsupported file ending",
    ),
    "one array": (
        "a.json",
        lambda: b"[" + GOOD[0] + b"]",
        "CorpusError: {path}: holds one JSON value",
    ),
    "ids of 1 MB": (
        "a.jsonl",
        lambda: lines(*(b'{"text": "a b", "id": "%s"}' % (b"x" * 10**6) for _ in range(5))),
        {"id is over the limit": 5},
    ),
    "ids of every type": (
        "a.jsonl",
        lambda: lines(
            *(
                b'{"text": "a b", "id": %s}' % given
                for given in (b"1", b"1e5", b"null", b"{}", b"true", b'"\\udc00"')
            )
        ),
        {"id is neither a string nor a number": 2, "lone surrogate": 1},
    ),
    "zip bomb in gz": (
        "a.jsonl.gz",
        lambda: endless(b"\0", 300, "gz"),
        {"line is over the limit": 1},
    ),
    "zip bomb in zst": (
        "a.jsonl.zst",
        lambda: endless(b"\0", 300, "zst"),
        {"line is over the limit": 1},
    ),
    "endless blanks": (
        "a.jsonl.zst",
        lambda: endless(b" ", 300, "zst"),
        {"line is over the limit": 1},
    ),
    "endless text": (
        "a.jsonl.zst",
        lambda: endless(b"a", 300, "zst", b'{"text": "'),
        {"line is over the limit": 1},
    ),
    "text file of NULs": (
        "a.txt",
        lambda: b"\0" * 5000,
        "CorpusError: no document|EmbeddingError: none of",
    ),
    "Parquet of junk": (
        "a.parquet",
        lambda: b"PAR1" + bytes(range(256)) * 9 + b"PAR1",
        "CorpusError: {path}: no Parquet",
    ),
    "empty Parquet": ("a.parquet", lambda: b"", "CorpusError: {path}: no Parquet"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_quarantined_or_refused(name: str, tmp_path: Path) -> None:
    file, content, expected = FILES[name]
    path = tmp_path / file
    path.write_bytes(content())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = outcome(path, tmp_path / "out", max_document_bytes=4 * MIB)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 << 10  # KiB; the bombs unpack to 300 MiB
    if isinstance(expected, str):
        beginnings = tuple(expected.replace("{path}", str(path)).split("|"))
        assert isinstance(found, str)
        assert found.startswith(beginnings), found
    else:
        assert found == expected


@pytest.mark.slow
def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(endless(b"\n", 1040, "zst"))
    assert "decompression bomb" in str(outcome(path, tmp_path / "out"))


@pytest.mark.slow
def test_a_line_of_a_gigabyte_is_passed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(lines() + b'{"text": "')
        file.truncate(1 << 30)
        file.seek(1 << 30)
        file.write(b"\n" + lines())
    assert outcome(path, tmp_path / "out") == {"line is over the limit": 1}


def test_a_million_bad_rows_are_counted_and_some_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*[b"x"] * 150_000))
    assert outcome(path, tmp_path / "out", max_error_rate=1) == {"broken JSON": 150_000}
    listed = (tmp_path / "out/work/quarantine.jsonl").read_bytes()
    assert listed.count(b"\n") == 100_000


TEXTS = [text(number) for number in range(20)]
TABLES: dict[str, tuple[Callable[[], pa.Table], str | dict[str, int]]] = {
    "of nulls": (lambda: pa.table({"text": pa.nulls(9)}), "CorpusError: 9 of 9 rows"),
    "of numbers": (lambda: pa.table({"text": [1, 2]}), "CorpusError: "),
    "of lists": (lambda: pa.table({"text": [["a"]]}), "CorpusError: "),
    "nested": (lambda: pa.table({"text": [{"a": "b"}]}), "CorpusError: "),
    "without the column": (lambda: pa.table({"a": ["b"]}), "CorpusError: "),
    "with its name twice": (
        lambda: pa.Table.from_arrays([pa.array(TEXTS), pa.array(TEXTS)], ["text", "text"]),
        {},
    ),
    "without rows": (
        lambda: pa.table({"text": pa.array([], pa.string())}),
        "CorpusError: the corpus has no",
    ),
    "with nulls": (lambda: pa.table({"text": [None, *TEXTS, None]}), {"text is missing": 2}),
    "of large strings": (lambda: pa.table({"text": pa.array(TEXTS, pa.large_string())}), {}),
    "of views": (lambda: pa.table({"text": pa.array(TEXTS, pa.string_view())}), {}),
    "of a dictionary": (lambda: pa.table({"text": pa.array(TEXTS).dictionary_encode()}), {}),
    "of bytes": (
        lambda: pa.table({"text": pa.array([*(one.encode() for one in TEXTS), b"\xff"])}),
        {"invalid UTF-8": 1},
    ),
    "of views of bytes": (
        lambda: pa.table(
            {"text": pa.array([*(one.encode() for one in TEXTS), b"\xff"], pa.binary_view())}
        ),
        {"invalid UTF-8": 1},
    ),
    "with ids of every row the same": (lambda: pa.table({"text": TEXTS, "id": ["same"] * 20}), {}),
    "with ids of numbers": (
        lambda: pa.table({"text": TEXTS, "id": [float("nan"), *range(19)]}),
        {},
    ),
    "with ids of structs": (
        lambda: pa.table({"text": TEXTS, "id": [{"a": 1}] * 20}),
        "CorpusError: ",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_hostile_table_is_quarantined_or_refused(name: str, tmp_path: Path) -> None:
    make, expected = TABLES[name]
    table = make()
    inputs: list[Any] = [table]
    if name != "with its name twice":  # no Parquet reader takes it
        pq.write_table(table, tmp_path / "a.parquet")
        inputs.append(tmp_path / "a.parquet")
    for number, given in enumerate(inputs):
        found = outcome(given, tmp_path / f"out{number}")
        if isinstance(expected, str):
            assert isinstance(found, str)
            assert found.startswith(expected), found
        else:
            assert found == expected


def test_parquet_without_row_groups_is_an_empty_corpus(tmp_path: Path) -> None:
    pq.ParquetWriter(tmp_path / "a.parquet", pa.schema({"text": pa.string()})).close()
    assert "no usable text" in str(outcome(tmp_path / "a.parquet", tmp_path / "out"))


@pytest.mark.parametrize("stored", [True, False])
def test_one_text_shared_by_many_rows_is_not_copied_for_each(stored: bool, tmp_path: Path) -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), ["a b c d " * 32768])
    table = pa.table({"text": shared})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, store_schema=stored, dictionary_pagesize_limit=1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = read_blocks(resolve(path))
    assert sum(len(block.parse()) for block in read) == 3000
    # 750 MiB of text.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_corrupt_parquet_bytes_are_an_error_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": TEXTS, "id": [str(number) for number in range(20)]})
    pq.write_table(table, path, compression="zstd")
    whole = path.read_bytes()
    chance = random.Random(5)
    for trial in range(40):
        bad = bytearray(whole)
        # The pages, or the footer.
        start = chance.choice([4, len(bad) - 1500])
        place = chance.randrange(start, len(bad) - 8)
        for at in range(place, min(place + chance.choice([1, 1, 8, 60]), len(bad))):
            bad[at] = chance.randrange(256)
        path.write_bytes(bad[: chance.choice([len(bad), len(bad), place])])
        found = outcome(path, tmp_path / f"out{trial}", max_error_rate=1)
        assert isinstance(found, dict) or found.startswith(("CorpusError", "EmbeddingError")), found


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.txt"])
def test_a_folder_that_vanishes_is_one_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(lines())
    listed = resolve(folder)
    shutil.rmtree(folder)
    monkeypatch.setattr(prepare, "resolve", lambda _: listed)
    found = outcome(folder, tmp_path / "out")
    assert str(found).startswith(f"CorpusError: cannot read `{folder / name}`: No such file")


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Things with the name of a file that are none."""
    made = {
        name: tmp_path / f"{name}.jsonl" for name in ("pipe", "loop", "nowhere", "zero", "socket")
    }
    os.mkfifo(made["pipe"])
    made["loop"].symlink_to("loop.jsonl")
    made["nowhere"].symlink_to("missing.jsonl")
    made["zero"].symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(made["socket"]))
        yield made


@pytest.mark.parametrize("name", ["pipe", "loop", "nowhere", "zero", "socket"])
def test_what_is_no_file_is_refused_and_nothing_hangs(
    name: str, odd: dict[str, Path], tmp_path: Path
) -> None:
    found = outcome(odd[name], tmp_path / "out")
    assert str(found).startswith(f"CorpusError: cannot read `{odd[name]}`: ")
    folder = tmp_path / "folder"
    folder.mkdir()
    odd[name].rename(folder / f"{name}.jsonl")
    found = outcome(folder, tmp_path / "out")
    assert str(found).startswith(f"CorpusError: cannot read `{folder / name}.jsonl`: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines())
    path.chmod(0)
    assert "Permission denied" in str(outcome(path, tmp_path / "out"))


def test_odd_names_are_read_like_others(tmp_path: Path) -> None:
    folder = tmp_path / "in\nput"
    folder.mkdir()
    for name in (
        b"a\nb.jsonl",
        b"..c.jsonl",
        b"\xff.jsonl",
        b"d .jsonl",
        "é.jsonl".encode(),
        b"-e.jsonl",
    ):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(lines(b"{"))
    (folder / "f.jsonl").mkdir()
    (folder / "again").symlink_to(folder)
    assert outcome(folder, tmp_path / "out") == {"broken JSON": 5}
    assert outcome(folder / ".." / folder.name / "a\nb.jsonl", tmp_path / "b") == {"broken JSON": 1}
    listed = (tmp_path / "out/work/quarantine.jsonl").read_text("utf-8").splitlines()
    assert sum("a\nb.jsonl" in json.loads(line)["file"] for line in listed) == 1


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines())
    link = tmp_path / "b.jsonl"
    link.symlink_to(path)
    for inputs in ([path, path], [path, link], [tmp_path, path]):
        assert "named twice" in str(outcome(inputs, tmp_path / "out"))
