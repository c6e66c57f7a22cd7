"""Files of a run that were damaged, with markers that say they were not: errors, and no crash.

Each engine's trials run in a process of their own, which must live to their end.
`HYPOTHESIS_PROFILE=slow` tries more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from tests.support.hostile import SETTINGS, text

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.errors import NextlongError
from nextlong_rs.run.markers import sealed

SPECIAL = (0, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 62, (1 << 63) - 1)
"""Numbers that offsets and lengths are given."""


def synthesize(folder: Path, corpus: Path, index: str) -> None:
    options = {**SETTINGS, "on_short": "drop", "index": index}
    nl.synthesize(corpus, folder, tokenizer=nl.sample_tokenizer(), **options)


def damage(whole: bytes, chance: random.Random) -> bytes:
    made = bytearray(whole)
    kind = chance.choice(["bytes", "head", "numbers", "cut"])
    if kind == "cut":
        return bytes(made[: chance.randrange(len(made))])
    for _ in range(chance.randrange(1, 5)):
        place = chance.randrange(len(made) if kind != "head" else min(len(made), 2000))
        if kind == "numbers":
            width = chance.choice([4, 8])
            place -= place % width
            number = chance.choice([*SPECIAL, len(made)]) % (1 << 8 * width)
            made[place : place + width] = number.to_bytes(width, "little")
        else:
            made[place] = chance.randrange(256)
    return bytes(made)


def forge(run: Path, chance: random.Random) -> str:
    """Damages a file of a run, and makes its marker say that this is what was written."""
    while True:
        marker = chance.choice(sorted((run / "work/_done").glob("*/0*.json")))
        said = json.loads(marker.read_bytes())
        if said["files"]:
            break
    file = chance.choice(said["files"])
    path = run / file["name"]
    path.write_bytes(damage(path.read_bytes(), chance))
    found = path.stat()
    file |= {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "ctime_ns": found.st_ctime_ns}
    file["hash"] = _nextlong.file_hash(path)
    del said["seal"]
    marker.write_text(json.dumps(sealed(said)))
    (run / "manifest.json").unlink()
    return f"{marker.parent.name}: {file['name']}"


def main(folder: Path, index: str, trials: int) -> None:
    """Goes on with forged runs; prints what was damaged and how each ended."""
    corpus, run = folder / "corpus.jsonl", folder / "run"
    corpus.write_text("\n".join(json.dumps({"text": text(number)}) for number in range(60)))
    synthesize(folder / "whole", corpus, index)
    for trial in range(trials):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(folder / "whole", run)
        what = forge(run, random.Random(f"{index} {trial}"))
        print(trial, what, end=" -> ", flush=True)
        ended = "made"
        try:
            synthesize(run, corpus, index)
        except NextlongError as error:
            ended = f"{type(error).__name__}: {error}"
        print(ended, flush=True)
        assert "internal error" not in ended


@pytest.mark.parametrize("index", ["exact", "clustered", "hnsw"])
def test_a_damaged_file_with_a_forged_marker_is_an_error_and_no_crash(
    index: str, tmp_path: Path
) -> None:
    trials = 40 if settings().max_examples < 100 else 600
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), index, str(trials)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-1500:]
    ends = [line.partition(" -> ")[2] for line in done.stdout.splitlines() if " -> " in line]
    assert len(ends) == trials
    assert any(end.startswith("RunError") for end in ends)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
