"""A run directory from elsewhere is data: whatever was done to it, there is an error and no crash.

The files that the core maps have their own test (`rust/nextlong/tests/trust.rs`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.hostile import SETTINGS, text

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.errors import NextlongError, RunError

DAMAGE = st.tuples(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    st.none() | st.floats(0, 1),
    st.binary(max_size=8) | st.just(b""),
)


def damaged(whole: bytes, damage: tuple[list[tuple[float, int]], float | None, bytes]) -> bytes:
    edits, cut, added = damage
    made = bytearray(whole)
    for place, byte in edits:
        made[int(place * len(made))] = byte
    return bytes(made[: None if cut is None else int(cut * len(made))]) + added


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two sequences."""
    folder = tmp_path_factory.mktemp("run") / "out"
    texts = iter([text(number) for number in range(20)])
    options = {**SETTINGS, "on_short": "drop"}
    result = nl.synthesize(texts, folder, tokenizer=nl.sample_tokenizer(), **options)
    assert len(result) == 2
    return folder


LOOK = """
import sys
import nextlong_rs as nl
try:
    result = nl.Result.open(sys.argv[1])
    str(result), len(result), result.to_arrow()
    for number in range(len(result)):
        str(result.explain(number))
except nl.errors.NextlongError as error:
    print("refused:", error)
"""


def look(folder: Path) -> None:
    """Everything that a result shows; its own errors are expected."""
    with suppress(NextlongError):
        result = nl.Result.open(folder)
        assert str(result)
        for number in range(len(result)):
            assert str(result.explain(number))
        result.to_arrow()


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "part-00000.parquet",
        "work/chunks/part-00000-00000.arrow",
        "work/select/part-00000.arrow",
        "work/measured.json",
    ],
)
def test_a_damaged_file_of_a_run_is_an_error(name: str, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    whole = (folder / name).read_bytes()

    @given(damage=DAMAGE)
    @settings(max_examples=30 if settings().max_examples < 100 else 1000)
    def check(damage: tuple[list[tuple[float, int]], float | None, bytes]) -> None:
        (folder / name).write_bytes(damaged(whole, damage))
        look(folder)

    check()
    for empty in (b"", b"[]", b"null", b"{}", b'{"summary": 3}', b"[" * 100_000):
        (folder / name).write_bytes(empty)
        look(folder)
    (folder / name).unlink()
    look(folder)


def test_offsets_that_leave_the_chunk_file_are_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    path = folder / "work/chunks/part-00000-00000.arrow"
    whole = path.read_bytes()
    store = _nextlong.ChunkStore([path])
    ends = np.cumsum([len(one.encode()) for one in store.texts(0, len(store))])
    # The offsets of the texts, as they lie in the file.
    place = whole.index(np.asarray(ends, dtype=np.int64).tobytes())
    for claim in (2**62, -1, 2**31, ends[-1] + 1):
        bad = bytearray(whole)
        bad[place + 8 : place + 16] = int(claim).to_bytes(8, "little", signed=True)
        path.write_bytes(bad)
        with pytest.raises(RunError, match="damaged"):
            _nextlong.ChunkStore([path])
        # In a process of its own: pyarrow would follow the offset.
        done = subprocess.run(
            [sys.executable, "-c", LOOK, str(folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-500:]
        assert done.stdout.startswith("refused:")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\xff" * 99,
        b"\xff" * 7 + b"\x7f" + b"{}",
        (9).to_bytes(8, "little") + b'{"a":[[]]',
    ],
)
def test_a_model_file_of_junk_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(NextlongError):
        Embedder.load(path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(NextlongError):
        Embedder.static(tmp_path)


def test_ready_vectors_that_hold_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    np.save(path, np.array([[print]]), allow_pickle=True)
    with pytest.raises(NextlongError):
        nl.synthesize(
            iter([text(1)]),
            tmp_path / "out",
            tokenizer=nl.sample_tokenizer(),
            embedder=path,
            **SETTINGS,
        )


def test_a_manifest_keeps_its_word(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    assert manifest["summary"]["sequences"]["made"] == 2
