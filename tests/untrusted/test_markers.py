"""The markers of a run directory from elsewhere are data: damaged or forged, none is believed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from tests.support.hostile import SETTINGS, text
from tests.support.killing import digest

import nextlong_rs as nl
from nextlong_rs.corpus import blocks
from nextlong_rs.errors import NextlongError, RunError
from nextlong_rs.run.markers import sealed

STAGES = ("chunk", "fit", "embed", "mine", "write")
ODD: list[Any] = [None, -3, "x", [1, 2], {"a": 1}, {"a": None}, 7, [5, 5, 5], 1 << 70]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three parts, in `out` beside its corpus."""
    folder = tmp_path_factory.mktemp("run")
    documents = [json.dumps({"text": text(number)}) for number in range(60)]
    (folder / "corpus.jsonl").write_text("\n".join([*documents, "bad"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 12_000)
        synthesize(folder / "out", folder / "corpus.jsonl")
    assert len(list((folder / "out/work/_done/chunk").glob("0*.json"))) > 2
    return folder


def synthesize(output: Path, corpus: Path, **changes: Any) -> nl.Result:
    options = {**SETTINGS, "on_short": "drop", "progress": False, **changes}
    return nl.synthesize(corpus, output, tokenizer=nl.sample_tokenizer(), **options)


@pytest.fixture
def copy(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, and a file beside it that no run may touch."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 12_000)
    shutil.copytree(run / "out", tmp_path / "out")
    (tmp_path / "victim").write_text("precious")
    return tmp_path / "out"


def again(run: Path, copy: Path, **changes: Any) -> list[str]:
    """The same command in the copy: the notes of a run that ends with the same bytes."""
    synthesize(copy, run / "corpus.jsonl", **changes)
    if not changes:
        assert digest(copy) == digest(run / "out")
    assert (copy.parent / "victim").read_text() == "precious"
    notes: list[str] = json.loads((copy / "work/measured.json").read_bytes())["notes"]
    return notes


def edited(path: Path, edit: Callable[[dict[str, Any]], object], *, seal: bool) -> None:
    marker = json.loads(path.read_bytes())
    edit(marker)
    if seal:
        marker.pop("seal")
        marker = sealed(marker)
    path.write_text(json.dumps(marker))


def first_marker(copy: Path, stage: str) -> Path:
    return min((copy / "work/_done" / stage).glob("0*.json"))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", [None, "stage.json"])
def test_a_damaged_marker_is_noticed_and_made_again(
    stage: str, name: str | None, run: Path, copy: Path
) -> None:
    path = copy / "work/_done" / stage / name if name else first_marker(copy, stage)
    whole = path.read_bytes()
    digits = [at for at, byte in enumerate(whole) if chr(byte) in "0123456789"]
    flipped = bytearray(whole)
    flipped[digits[len(digits) // 2]] ^= 1
    for content in (b"", b"{}", b"[]", b"\0", b"[" * 100_000, whole[:-9], flipped, b'{"seal":NaN}'):
        path.write_bytes(content)
        assert any(
            note.startswith(f"{stage}: ") and "corrupted" in note for note in again(run, copy)
        )


@pytest.mark.parametrize("stage", STAGES)
def test_a_forged_marker_is_one_error_or_made_again(stage: str, run: Path, copy: Path) -> None:
    path = first_marker(copy, stage)
    whole = path.read_bytes()
    for name in json.loads(whole):
        for value in ODD:
            path.write_bytes(whole)
            edited(path, methodcaller("__setitem__", name, value), seal=name != "seal")
            try:
                synthesize(copy, run / "corpus.jsonl")
            except NextlongError:
                path.unlink(missing_ok=True)
                again(run, copy)


@pytest.mark.parametrize("given", ["../victim", "{victim}", "work/../../victim", "victim"])
@pytest.mark.parametrize("seal", [True, False])
def test_a_marker_removes_no_file_of_others(given: str, seal: bool, run: Path, copy: Path) -> None:
    name = given.replace("{victim}", str(copy.parent / "victim"))
    for stage in STAGES:
        for path in (copy / "work/_done" / stage).glob("0*.json"):
            edited(
                path, lambda marker: marker["files"].append({**marker["files"][0], "name": name}),
                seal=seal,
            )  # fmt: skip
    again(run, copy, chunk_size=200, overwrite=True)


def test_a_count_of_tasks_that_was_lowered_loses_no_document(run: Path, copy: Path) -> None:
    edited(copy / "work/_done/chunk/stage.json", lambda one: one.update(tasks=1), seal=False)
    assert any("chunk: rerunning" in note for note in again(run, copy))


def test_markers_with_strange_names_are_passed_over(run: Path, copy: Path) -> None:
    for name in ("0x.json", "00\N{SUPERSCRIPT TWO}.json", "0.tmp.json"):
        (copy / "work/_done/chunk" / name).write_text("{}")
    assert again(run, copy) == []
    again(run, copy, chunk_size=200, overwrite=True)


@pytest.mark.parametrize("name", ["work", "work/embed", "work/_done", "work/_done/chunk"])
def test_a_folder_that_is_a_link_is_refused(name: str, run: Path, copy: Path) -> None:
    other = copy.parent / "other"
    (copy / name).rename(other)
    (copy / name).symlink_to(other)
    before = digest(other)
    for changes in ({}, {"resume": False, "overwrite": True}):
        with pytest.raises(RunError, match="is a link"):
            synthesize(copy, run / "corpus.jsonl", **changes)
    assert digest(other) == before


def test_a_lock_that_is_a_link_is_refused(run: Path, copy: Path) -> None:
    (copy / "work/lock").unlink()
    (copy / "work/lock").symlink_to(copy.parent / "victim")
    with pytest.raises(RunError, match="lock` is a link"):
        again(run, copy)
    assert (copy.parent / "victim").read_text() == "precious"


def test_files_that_are_links_or_pipes_are_made_again(run: Path, copy: Path) -> None:
    victim = copy.parent / "victim"
    for number, name in enumerate(("chunks/part-00000-00000.arrow", "embed/part-00000.npy")):
        path = copy / "work" / name
        elsewhere = copy.parent / f"elsewhere-{number}"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        path.with_name(path.name + ".tmp").symlink_to(victim)
    pipe = copy / "work/select/part-00000.arrow"
    pipe.unlink()
    os.mkfifo(pipe)
    assert sum("is no file" in note for note in again(run, copy)) == 3


def test_a_change_with_an_old_time_is_noticed(run: Path, copy: Path) -> None:
    again(run, copy)
    for name in (
        "work/chunks/part-00000-00001.arrow",
        "work/embed/part-00000.npy",
        "part-00000.parquet",
    ):
        path = copy / name
        times, content = path.stat(), bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert any(f"{name} was changed" in note for note in again(run, copy))


@pytest.mark.parametrize(
    "content", ["[]", "null", "[" * 100_000, "{}", '{"settings": 3}', '{"settings": {"dim": NaN}}']
)
def test_a_damaged_manifest_is_one_error_that_names_the_way_out(
    content: str, run: Path, copy: Path
) -> None:
    (copy / "manifest.json").write_text(content)
    with pytest.raises(RunError, match="overwrite"):
        again(run, copy)
    synthesize(copy, run / "corpus.jsonl", overwrite=True)
    assert digest(copy) == digest(run / "out")
