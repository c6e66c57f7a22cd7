"""One thread is one thread: no engine, embedder, tokenizer or writer has threads of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RUN = """
import json, sys
import numpy as np, tokenizers
import nextlong_rs as nl
from nextlong_rs.stage import parts
parts.PART_TOKENS = 8192 * 16  # several output files

def embed(texts):
    return np.array([[text.count(letter) for letter in "etaoinshrdlu"] for text in texts])

given = {"seq_len": 8192, "num_sequences": 100, **json.loads(sys.argv[2])}
tokenizer = nl.sample_tokenizer()
if given.pop("python_tokenizer", False):
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
if given.get("embedder") == "callable":
    given["embedder"] = embed
print("ready", flush=True)
sys.stdin.readline()
nl.synthesize(nl.sample_corpus(), sys.argv[1], tokenizer=tokenizer, threads=1, progress=False, **given)
print("done", flush=True)
sys.stdin.readline()
"""

KINDS: dict[str, dict[str, Any]] = {
    "exact": {"index": "exact"},
    "clustered": {"index": "clustered"},
    "hnsw": {"index": "hnsw"},
    "callable": {"embedder": "callable"},
    "chunks by tokens": {"chunk_unit": "tokens", "chunk_size": 400},
    "paper": {"mode": "paper"},
    "a tokenizer of Python": {"python_tokenizer": True},
    "a memory limit": {"memory_limit": "1GB"},
}


def threads(process: int) -> int:
    """The threads of a process; not that of a pool which is ending while the next one's begins."""
    folder = Path("/proc", str(process), "task")
    found = sorted(int(name) for name in os.listdir(folder))
    patience = time.perf_counter() + 0.03
    while len(found) > 2 and (folder / str(found[1])).exists():
        if time.perf_counter() > patience:
            return len(found)
        time.sleep(0.001)
    return min(len(found), 2)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed in /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_one_thread_has_the_main_thread_and_one_more(kind: str, tmp_path: Path) -> None:
    # Numpy's BLAS, which the run does not use, makes its threads when it is loaded.
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(tmp_path / "out"), json.dumps(KINDS[kind])]
    most, ended = 0, False
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=alone
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.set_blocking(process.stdout.fileno(), False)
        process.stdin.write(b"\n")
        process.stdin.flush()
        while not ended:
            most = max(most, threads(process.pid))
            ended = process.stdout.read() == b"done\n" or process.poll() is not None
            time.sleep(0.0005)
        process.stdin.close()
    assert process.returncode == 0
    assert most == 2
