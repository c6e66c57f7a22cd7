"""The output bytes of small runs are those of the record in `tests/golden`.

`python -m tests.golden.update` rewrites the record where a change of the output is meant.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.golden import runs

import nextlong_rs as nl

RECORD: dict[str, Any] = json.loads(runs.RECORD.read_text(encoding="utf-8"))
ENGINES = ("default", "clustered", "hnsw")


@pytest.fixture(scope="module")
def model() -> Iterator[nl.Embedder]:
    with runs.stored_model() as model:
        yield model


def compare(name: str, found: dict[str, str], recorded: dict[str, str]) -> None:
    """Fail with the parts of the output that differ."""
    differ = [part for part in recorded | found if recorded.get(part) != found.get(part)]
    assert not differ, f"{name}: not as recorded in {runs.RECORD.name}: {', '.join(differ)}"


@pytest.mark.parametrize("name", runs.RUNS)
def test_the_output_is_the_recorded_one(name: str, model: nl.Embedder, tmp_path: Path) -> None:
    tokenizer = runs.RUNS[name].tokenizer
    if tokenizer is not None and not tokenizer.is_file():
        pytest.skip(f"{tokenizer.parent.name} of ../shared/tokenizers is missing")
    # The record was made with one thread.
    found = runs.hashes(name, tmp_path, threads=2, embedder=model)
    compare(name, found, RECORD["runs"][name])


@pytest.mark.parametrize("name", ENGINES)
def test_one_thread_gives_the_same(name: str, model: nl.Embedder, tmp_path: Path) -> None:
    found = runs.hashes(name, tmp_path, threads=1, embedder=model)
    compare(f"{name}, one thread", found, RECORD["runs"][name])


@pytest.mark.parametrize("name", runs.FITTED)
def test_a_run_that_fits_its_model_is_the_recorded_one(name: str, tmp_path: Path) -> None:
    kind = runs.processor()
    if kind not in RECORD["fitted"]:
        pytest.skip(f"no record for a processor with {kind}; `tests.golden.update` adds one")
    found = runs.hashes(name, tmp_path, threads=2, embedder=None)
    compare(f"{name} ({kind})", found, RECORD["fitted"][kind][name])


def test_the_slowest_kernel_gives_the_same(tmp_path: Path) -> None:
    script = """if True:
        import json
        import sys
        import tempfile
        from pathlib import Path
        from tests.golden import runs

        with runs.stored_model() as model:
            found = {}
            for name in sys.argv[1:]:
                with tempfile.TemporaryDirectory() as folder:
                    found[name] = runs.hashes(name, Path(folder), threads=2, embedder=model)
        print(json.dumps(found))
    """
    made = subprocess.run(
        [sys.executable, "-c", script, *ENGINES],
        env={**os.environ, "NEXTLONG_KERNEL": "serial"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    for name, found in json.loads(made.stdout).items():
        compare(f"{name}, serial kernel", found, RECORD["runs"][name])
