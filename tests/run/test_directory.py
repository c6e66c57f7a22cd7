"""A disk that is too small: told before a stage where that is sure, survived where it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nextlong_rs as nl
from nextlong_rs.run.directory import Run

Usage = namedtuple("Usage", "total used free")
SMALL: dict[str, Any] = {"seq_len": 16_384, "num_sequences": 40, "dim": 64, "max_reuse": None}


def synthesize(output: Path, **changes: Any) -> nl.Result:
    options = {**SMALL, "progress": False, **changes}
    inputs = options.pop("inputs", nl.sample_corpus())
    return nl.synthesize(inputs, output, tokenizer=nl.sample_tokenizer(), **options)


def files(result: nl.Result) -> list[bytes]:
    return [path.read_bytes() for path in result.files]


@pytest.mark.parametrize(
    ("stage", "free", "options"),
    [
        ("fit", 4_000_000, {}),
        ("embed", 200_000, {}),
        ("index", 120_000, {"index": "clustered"}),
        ("index", 120_000, {"index": "hnsw"}),
        ("write", 50_000, {}),
    ],
)
def test_a_stage_without_room_is_refused_and_the_restart_goes_on(
    stage: str, free: int, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = Run.check_disk

    def usage(path: object) -> Usage:
        return Usage(10**12, 10**12 - free, free)

    def check(run: Run, name: str, least: int) -> None:
        with monkeypatch.context() as patch:
            if name == stage:
                patch.setattr(shutil, "disk_usage", usage)
            checked(run, name, least)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "check_disk", check)
        with pytest.raises(
            nl.RunError,
            match=f"not enough disk space .* stage `{stage}`: needs at least .* MB free",
        ):
            synthesize(tmp_path / "out", **options)
    assert not (tmp_path / "out" / "manifest.json").exists()
    whole = synthesize(tmp_path / "whole", **options)
    assert files(synthesize(tmp_path / "out", **options)) == files(whole)


def test_plain_text_is_known_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("words and words\n" * 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6 - 100, 100))
    with pytest.raises(nl.RunError, match="not enough disk space .* stage `chunk`"):
        synthesize(tmp_path / "out", inputs=tmp_path / "a.txt")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_one_error_and_the_restart_goes_on(
    small_disk: Path, tmp_path: Path
) -> None:
    whole = synthesize(tmp_path / "whole")
    for _ in range(3):
        with pytest.raises((nl.NextlongError, OSError), match=r"(?i)space|MB left"):
            synthesize(small_disk / "out")
        assert not (small_disk / "out" / "manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
    assert files(synthesize(small_disk / "out")) == files(whole)
    assert not list((small_disk / "out").rglob("*.tmp"))
