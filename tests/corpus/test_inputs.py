"""Listing inputs: folders, globs, weights, labels, and inputs that are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.reading import read, write_lines

from nextlong_rs.corpus.inputs import resolve
from nextlong_rs.errors import ConfigError, CorpusError


def test_a_folder_is_walked_in_one_order_and_ids_tell_its_files_apart(tmp_path: Path) -> None:
    for name in ("b/x.txt", "a/x.txt", "a.md", ".hidden.txt", "_SUCCESS.txt", "c/notes.pdf"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    rows, _ = read(tmp_path / "corpus")
    assert [doc_id for doc_id, _ in rows] == ["a/x.txt", "a.md", "b/x.txt"]
    rows, _ = read(str(tmp_path / "**/x.txt"))
    assert [doc_id for doc_id, _ in rows] == [
        "corpus/a/x.txt",
        "corpus/b/x.txt",
    ]


def test_names_with_line_breaks_are_files_too(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.txt"
    path.write_text("text")
    assert read([str(path)])[0] == [("a\nb.txt", "text")]
    raw = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(raw, "w") as file:
        file.write("text")
    assert read(os.fsdecode(raw))[0] == [("\\udcff.txt", "text")]


def test_weights_belong_to_sources(tmp_path: Path) -> None:
    a = write_lines(tmp_path / "a.jsonl", [{"text": "a"}])
    b = write_lines(tmp_path / "b.jsonl", [{"text": "b"}])
    listing = resolve({str(a): 2, str(b): 0.5})
    assert [(one.number, one.source, one.weight) for one in listing] == [(0, 0, 2.0), (1, 1, 0.5)]
    assert resolve([(a, 2), (b, 0.5)]) == listing
    assert listing[0].size == a.stat().st_size
    assert listing[0].mtime_ns == a.stat().st_mtime_ns
    assert [one.weight for one in resolve([a, ({"text": "x"} for _ in "12")])] == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ("missing.jsonl", CorpusError, "missing.jsonl: no such file"),
        ("missing/*.jsonl", CorpusError, "matches nothing"),
        ([], CorpusError, "no inputs"),
        ("", ConfigError, "invalid input '': expected a path"),
        (5, ConfigError, "int"),
        ([("a.jsonl", -1)], ConfigError, "must be a number above 0"),
        ([("a.jsonl", float("nan"))], ConfigError, "must be a number above 0"),
        ({"a.jsonl": "x"}, ConfigError, "must be a number above 0"),
        (["a.jsonl", "./a.jsonl"], ConfigError, "named twice"),
        (["one text", "another"], CorpusError, r"iter\(texts\)"),
        ("a.pdf", CorpusError, "unsupported file ending"),
        ("empty", CorpusError, "no file of a known kind"),
    ],
)
def test_inputs_that_cannot_be_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: object,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", [{"text": "a"}])
    (tmp_path / "a.pdf").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        resolve(inputs)
