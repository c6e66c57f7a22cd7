"""Reading blocks: every kind of file, every hostile row, the same documents however they are cut."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.reading import packed, read, reasons, write_lines

from nextlong_rs.corpus.blocks import Block, CorpusConfig, check_error_rate, read_blocks
from nextlong_rs.corpus.inputs import resolve
from nextlong_rs.errors import ConfigError, CorpusError
from nextlong_rs.stage import chunk as cutting

zstandard = pytest.importorskip("zstandard")

# Each hostile line by itself: its bytes, and the text it gives or the reason why none.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "broken": (b'{"text": "a"', "!broken JSON"),
    "no JSON": (b"hello", "!broken JSON"),
    "trailing garbage": (b'{"text": "a"} x', "!broken JSON"),
    "trailing comma": (b'{"text": "a",}', "!broken JSON"),
    "single quotes": (b"{'text': 'a'}", "!broken JSON"),
    "NaN": (b'{"text": "a", "b": NaN}', "!broken JSON"),
    "leading zero": (b'{"text": "a", "b": 01}', "!broken JSON"),
    "raw control character": (b'{"text": "a\tb"}', "!broken JSON"),
    "raw NUL": (b'{"text": "a\x00b"}', "!broken JSON"),
    "bad escape": (b'{"text": "\\x41"}', "!broken JSON"),
    "short escape": (b'{"text": "\\u41"}', "!broken JSON"),
    "array": (b'["a"]', "!not an object"),
    "string": (b'"a"', "!not an object"),
    "null": (b"null", "!not an object"),
    "empty object": (b"{}", "!text is missing"),
    "missing text": (b'{"id": 1}', "!text is missing"),
    "null text": (b'{"text": null}', "!text is missing"),
    "number for text": (b'{"text": 5}', "!text is not a string"),
    "list for text": (b'{"text": ["a"]}', "!text is not a string"),
    "empty text": (b'{"text": ""}', "!text is empty"),
    "white space": (b'{"text": " \\n\\u00a0\\u3000"}', "!text is empty"),
    "text over the limit": (b'{"text": "' + b"a" * 2000 + b'"}', "!text is over the limit"),
    "invalid UTF-8": (b'{"text": "\xff\xfe"}', "!invalid UTF-8"),
    "UTF-8 surrogate": (b'{"text": "\xed\xa0\x80"}', "!invalid UTF-8"),
    "overlong UTF-8": (b'{"text": "\xc0\xaf"}', "!invalid UTF-8"),
    "lone high surrogate": (b'{"text": "a\\ud800b"}', "!lone surrogate"),
    "lone low surrogate": (b'{"text": "a\\udc00b"}', "!lone surrogate"),
    "two high surrogates": (b'{"text": "\\ud800\\ud800\\udc00"}', "!lone surrogate"),
    "surrogate in the id": (b'{"id": "\\ud800", "text": "a"}', "!lone surrogate"),
    "boolean id": (b'{"id": true, "text": "a"}', "!id is neither a string nor a number"),
    "deep nesting": (
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "text": "a"}',
        "!JSON nested too deeply",
    ),
    "deep text": (b'{"text": ' + b'{"a":' * 100_000, "!JSON nested too deeply"),
    "surrogate in another field": (b'{"x": "\\ud800", "text": "a"}', "a"),
    "surrogate pair": (b'{"text": "\\ud83d\\ude00"}', "\N{GRINNING FACE}"),
    "escaped NUL": (b'{"text": "a\\u0000b"}', "a\0b"),
    "every escape": (b'{"text": "\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9"}', '"\\/\b\f\n\r\té'),
    "duplicate key": (b'{"text": 1, "text": "last"}', "last"),
    "duplicate key, bad first": (b'{"text": "\\ud800", "text": "last"}', "last"),
    "escaped key": (b'{"t\\u0065xt": "a"}', "a"),
    "inner text": (b'{"x": {"text": "b"}, "text": "a", "y": [{"text": "c"}]}', "a"),
    "some nesting": (b'{"x": ' + b"[" * 900 + b"]" * 900 + b', "text": "a"}', "a"),
    "huge number": (b'{"x": 1' + b"0" * 400 + b'e999, "text": "a"}', "a"),
    "white space around": (b' \t{ "text" :\t"a" , "x" : [ 1 , { } , [ ] ] } ', "a"),
    "carriage return": (b'{"text": "a"}\r', "a"),
    "line separators": ('{"text": "a\u2028b\u0085"}'.encode(), "a\u2028b\u0085"),
}


@pytest.mark.parametrize("block_bytes", [7, 1 << 20])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_named_and_its_neighbours_are_kept(
    tmp_path: Path, name: str, block_bytes: int
) -> None:
    line, expected = HOSTILE[name]
    path = tmp_path / "a.jsonl"
    first, last = b'{"text": "first"}\n', b'{"text": "last", "id": "z"}'
    path.write_bytes(first + line + b"\n\n \r\n" + last)
    rows, bad = read(path, block_bytes=block_bytes, max_document_bytes=1000)
    texts = ["first", "last"] if expected.startswith("!") else ["first", expected, "last"]
    assert [text for _, text in rows] == texts
    assert rows[0][0] == "a.jsonl:1"
    assert rows[-1][0] == "z"
    if expected.startswith("!"):
        assert reasons(bad) == [(2, expected[1:])]
        assert bad[0]["file"] == str(path)
        assert bad[0]["offset"] == len(first)
        assert bad[0]["text"] == line.decode("utf-8", "replace")[:200].rstrip("\r")
    else:
        assert not bad


def test_python_reads_the_same_from_lines_that_are_good(tmp_path: Path) -> None:
    for line, expected in HOSTILE.values():
        if not expected.startswith("!"):
            assert json.loads(line)["text"] == expected


def test_a_mark_at_the_start_of_a_file_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n')
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfplain")
    rows, bad = read(tmp_path)
    assert rows == [("a.jsonl:1", "a"), ("a.jsonl:2", "b"), ("b.txt", "plain")]
    assert not bad


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(b""))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b""))
    (tmp_path / "d.jsonl").write_bytes(b"\n \n\r\n")
    assert read(tmp_path) == ([], [])


def test_a_line_over_the_limit_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    long = b'{"text": "' + b"a" * (3 << 20) + b'"}'
    lines = b'{"text": "a"}\n' + long + b'\n{"text": "b"}\n' + long
    path.write_bytes(lines)
    for block_bytes in (1000, 1 << 16, 1 << 24):
        rows, bad = read(path, block_bytes=block_bytes, max_document_bytes=1000)
        assert rows == [("a.jsonl:1", "a"), ("a.jsonl:3", "b")]
        assert reasons(bad) == [(2, "line is over the limit"), (4, "line is over the limit")]
        assert [entry["offset"] for entry in bad] == [14, 14 + len(long) + 1 + 14]
        assert bad[0]["text"] == long[:200].decode()


def test_a_line_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    text = "ein Wort, " * 1_000_000
    path = write_lines(tmp_path / "a.jsonl", [{"text": text}, {"text": "b"}])
    rows, bad = read(path, block_bytes=1 << 16)
    assert rows == [("a.jsonl:1", text), ("a.jsonl:2", "b")]
    assert not bad


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_several_members_and_frames_are_one_file(tmp_path: Path, kind: str) -> None:
    lines = b"".join(b'{"text": "%d"}\n' % number for number in range(5000))
    path = tmp_path / f"a.jsonl.{kind}"
    path.write_bytes(packed(kind, lines))
    rows, bad = read(path)
    assert [text for _, text in rows] == [str(number) for number in range(5000)]
    assert not bad


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, kind: str) -> None:
    rng = random.Random(0)
    lines = b"".join(b'{"text": "%d"}\n' % rng.getrandbits(64) for _ in range(20_000))
    path = tmp_path / f"a.jsonl.{kind}"
    whole = gzip.compress(lines) if kind == "gz" else zstandard.compress(lines)
    for length in (len(whole) // 2, len(whole) - 1, 20):
        path.write_bytes(whole[:length])
        with pytest.raises(
            CorpusError, match=rf"a\.jsonl\.{kind}.*truncated or corrupted after \d+"
        ):
            read(path, block_bytes=10_000)
    path.write_bytes(b"this is not compressed at all")
    with pytest.raises(CorpusError, match="truncated or corrupted after 0 bytes"):
        read(path)


@pytest.mark.parametrize(
    "data", [b'[\n{"text": "a"},\n{"text": "b"}\n]\n', b'[{"text": "a"}, {"text": "b"}]']
)
def test_an_array_over_the_whole_file_is_named_as_such(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match="one JSON value over several lines"):
        read(path)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "ndjson", "json"])
@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]))), ascii=st.booleans())
def test_any_texts_come_back_equal(
    tmp_path_factory: pytest.TempPathFactory, kind: str, texts: list[str], ascii: bool
) -> None:
    path = tmp_path_factory.mktemp("corpus") / f"a.{kind}"
    lines = "".join(json.dumps({"text": text}, ensure_ascii=ascii) + "\n" for text in texts)
    path.write_bytes(packed(kind.rpartition(".")[2], lines.encode()))
    expected = [
        (f"a.{kind}:{row}", text) for row, text in enumerate(texts, 1) if text.strip(WHITE_SPACE)
    ]
    for block_bytes in (1, 17, 1 << 20):
        rows, bad = read(path, block_bytes=block_bytes)
        assert rows == expected
        assert len(rows) + len(bad) == len(texts)


# Unicode's White_Space; Python's strip() takes U+001C to U+001F too.
WHITE_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)


def test_ids_and_scores_are_taken_from_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"key": "k", "body": "a", "quality": 0.5, "id": "no"}\n'
        '{"key": 12345678901234567890123, "body": "b", "quality": 1e3}\n'
        '{"key": 1.50, "body": "c", "quality": null}\n'
        '{"body": "d", "quality": 1}\n'
        '{"key": "e", "body": "e", "quality": "1"}\n'
        '{"key": "f", "body": "f", "quality": 1e999}\n'
        '{"key": "g", "body": "g", "quality": -0.5}\n'
    )
    listing = resolve(path)
    config = CorpusConfig(text_column="body", id_column="key", score_column="quality")
    (block,) = read_blocks(listing, config)
    documents = block.parse()
    assert [documents.origin(row) for row in range(len(documents))] == [
        ("k", 0, 0, 0.5),
        ("12345678901234567890123", 0, 1, 1000.0),
        ("1.50", 0, 2, None),
    ]
    assert documents.bad_counts() == {
        "id is missing": 1,
        "score is not a number": 2,
        "score is below 0": 1,
    }
    with pytest.raises(RuntimeError, match="parsed once"):
        block.parse()


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "a"}])
    assert read(path, id_column="text")[0] == [("a", "a")]


def test_text_files_share_blocks(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.txt").write_text(f"text {number}")
    (tmp_path / "100.txt").write_bytes(b"\xff")
    (tmp_path / "101.txt").write_text(" \n")
    (tmp_path / "102.txt").write_text("a" * 2000)
    listing = resolve(tmp_path)
    blocks = list(read_blocks(listing, block_bytes=1 << 20))
    assert len(blocks) == 1
    rows, bad = read(tmp_path, max_document_bytes=1000)
    assert len(rows) == 297
    assert rows[0] == ("000.txt", "text 0")
    assert [entry["reason"] for entry in bad] == [
        "invalid UTF-8",
        "text is empty",
        "text is over the limit",
    ]
    assert read(tmp_path, block_bytes=300, max_document_bytes=1000) == (rows, bad)


@pytest.mark.parametrize(
    "setting",
    [
        {"text_column": ""},
        {"id_column": 5},
        {"max_document_bytes": 0},
        {"max_error_rate": 1.5},
        {"max_error_rate": float("nan")},
    ],
)
def test_settings_that_cannot_be_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        CorpusConfig(**setting)


def test_a_file_that_vanishes_is_an_os_error(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "a"}])
    listing = resolve(path)
    path.unlink()
    with pytest.raises(CorpusError, match="a.jsonl"):
        list(read_blocks(listing))


def test_too_many_bad_rows_stop_a_run() -> None:
    config = CorpusConfig(max_error_rate=0.1)
    check_error_rate(99, {"broken JSON": 99}, config)
    check_error_rate(100, {"broken JSON": 10}, config)
    with pytest.raises(CorpusError, match=r"11 of 100 rows .*broken JSON: 10, text is empty: 1"):
        check_error_rate(100, {"text is empty": 1, "broken JSON": 10}, config)
    with pytest.raises(CorpusError, match="quarantine.jsonl"):
        check_error_rate(5, {"broken JSON": 1}, config, at_end=True)
    check_error_rate(0, {}, config, at_end=True)


def test_reading_stops_when_the_watch_is_cancelled(tmp_path: Path) -> None:
    from nextlong_rs import _nextlong

    path = write_lines(tmp_path / "a.jsonl", [{"text": "a"}])
    watch = _nextlong.Watch()
    watch.cancel()
    with pytest.raises(KeyboardInterrupt):
        list(read_blocks(resolve(path), watch=watch))


def of_every_kind(folder: Path) -> bytes:
    """The same rows as files of every kind; gives the lines."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = random.Random(1)
    rows = [
        {
            "text": "".join(rng.choices("abc dé\n", k=rng.choice([0, 1, 5, 50, 500, 9000])))
            if rng.random() < 0.9
            else "same " * 50,
            "id": str(number),
        }
        for number in range(200)
    ]
    lines = b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in rows)
    (folder / "a.jsonl").write_bytes(lines)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "c.jsonl.zst").write_bytes(zstandard.compress(lines))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "d.parquet", row_group_size=37, data_page_size=1000)
    texts = pa.array([row["text"] for row in rows]).dictionary_encode()
    pq.write_table(table.set_column(0, "text", texts), folder / "e.parquet", row_group_size=70)
    for number in range(5):
        (folder / f"f{number}.txt").write_text("x" * (number + 1))
    return lines


@pytest.mark.parametrize("block_bytes", [1000, 5000, 20_000, 100_000, 1 << 24])
def test_reading_begins_at_any_block(block_bytes: int, tmp_path: Path) -> None:
    of_every_kind(tmp_path)
    listing = resolve(tmp_path)

    def shown(block: Block) -> tuple[Any, ...]:
        place = (block.number, block.first_row, block.offset, block.bytes, block.next)
        documents = block.parse()
        return (*place, documents.texts(), documents.quarantine())

    whole = [shown(block) for block in read_blocks(listing, block_bytes=block_bytes)]
    assert len(whole) > 5
    step = max(1, len(whole) // 40)
    for number in range(0, len(whole), step):
        first, row, at = whole[number][4]
        rest = [one for one in listing if one.number >= first]
        blocks = read_blocks(rest, block_bytes=block_bytes, start=(row, at))
        found = [shown(block) for block in itertools.islice(blocks, 3)]
        assert found == whole[number + 1 : number + 4]


@pytest.mark.parametrize("block_bytes", [1000, 5000, 20_000, 100_000, 1 << 24])
def test_the_last_block_of_a_file_says_so(block_bytes: int, tmp_path: Path) -> None:
    of_every_kind(tmp_path)
    lines = {
        "whole": b'{"text": "a"}\n' * (block_bytes // 14 + 1),
        "open": b'{"text": "a"}\n{"text": "b"}',
        "even": b'{"text": "' + b"c" * (block_bytes - 13) + b'"}\n',
        "long": b'{"text": "' + b"d" * 5 * block_bytes + b'"}',
        "too long": b"x" * (3 << 20),
        "blank": b"\n\n",
        "empty": b"",
    }
    for name, data in lines.items():
        (tmp_path / f"{name}.jsonl").write_bytes(data)
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(data))
        (tmp_path / f"{name}.jsonl.zst").write_bytes(zstandard.compress(data))
    listing = resolve(tmp_path)
    for lane in cutting.lanes(listing):
        blocks = list(read_blocks(lane, block_bytes=block_bytes))
        following = lane[-1].number + 1
        assert bool(blocks) == any(one.size and "empty" not in one.name for one in lane), lane
        for place, block in enumerate(blocks):
            is_last = place == len(blocks) - 1
            assert (block.next[0] == following) == is_last, (block, block.next)
            assert is_last <= (block.next[1:] == (0, 0) or lane[0].kind == "text")
        assert sum(block.file_bytes for block in blocks) in (0, sum(one.size or 0 for one in lane))


def bytes_read() -> int:
    counts = Path("/proc/self/io").read_text()
    return int(counts.split("rchar:")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="nothing counts what is read")
def test_what_lies_before_a_block_is_not_read_again(tmp_path: Path) -> None:
    row = json.dumps({"text": "some words of a text " * 500}) + "\n"
    (tmp_path / "a.jsonl").write_text(row * 2000)
    listing = resolve(tmp_path)
    *_, before_last, _ = read_blocks(listing, block_bytes=1 << 20)
    number, line, at = before_last.next
    assert number == 0
    assert line > 1800
    held = bytes_read()
    (last,) = read_blocks(listing, block_bytes=1 << 20, start=(line, at))
    assert bytes_read() - held < 2 << 20
    assert last.first_row == line
