"""Kills small runs at seeded random moments, goes on with them, and compares the bytes.

    python tests/support/killing.py KILLS [SEED]

Each round runs the same command until it is killed, at a moment drawn between its start and a bit
past its usual end, again and again in one folder until it once comes through. The rounds take turns
with the kinds of input, engines and embedders.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.json
import pyarrow.parquet
import zstandard

import nextlong_rs as nl

RUN = """
import sys
import numpy as np
import nextlong_rs as nl
from nextlong_rs.corpus import blocks
from nextlong_rs.stage import parts
# Eight output files, so that some are written while mining goes on.
parts.PART_TOKENS = 4096 * 8
# Eight parts of the corpus, so that some of its file is chunked and some is not.
blocks.BLOCK_BYTES = 1 << 19

def embed(texts):
    return np.array([[text.count(letter) for letter in "etaoinshrdlucmfwygpb"] for text in texts])

nl.synthesize(
    sys.argv[2], output=sys.argv[1], tokenizer=nl.sample_tokenizer(), **{{
    "seq_len": 4096, "num_sequences": 64, "chunk_size": 1024, "threads": 2, "progress": False,
    {options} }}
)
"""

VARIANTS = (
    ("jsonl.zst", ""),
    ("jsonl", '"index": "clustered"'),
    ("parquet", '"index": "hnsw", "memory_limit": "600MB"'),
    ("jsonl", '"embedder": embed, "max_score": None'),
    ("jsonl", '"chunk_unit": "tokens", "chunk_size": 256, "threads": 3'),
    ("folder", '"index": "exact", "on_short": "shorten", "placement": "random"'),
)
"""Kinds of input and changed settings; the rounds take turns with them."""


def corpora(folder: Path) -> dict[str, Path]:
    """The sample corpus as every kind of input."""
    made = {kind: folder / f"corpus.{kind}" for kind in ("jsonl", "parquet")}
    with nl.sample_corpus().open("rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read()
    made["jsonl"].write_bytes(lines)
    table = pyarrow.json.read_json(made["jsonl"])
    pyarrow.parquet.write_table(table, made["parquet"], row_group_size=40)
    made["folder"] = folder / "corpus"
    made["folder"].mkdir()
    for number, line in enumerate(lines.splitlines()[:120]):
        text = json.loads(line)["text"]
        (made["folder"] / f"{number}.txt").write_text(text, "utf-8")
    return {**made, "jsonl.zst": nl.sample_corpus()}


def digest(output: Path) -> dict[str, str]:
    """The hashes of all that a run leaves beside its measurements and markers."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file()
        and path.name not in ("measured.json", "lock")
        and "_done" not in path.relative_to(output).parts
    }


def torture(kills: int, seed: int, folder: Path) -> int:
    """Kills `kills` times; gives how many runs came through between them.

    Raises:
        AssertionError: A run that went on left other bytes than an undisturbed one.
    """
    rng = random.Random(seed)
    inputs = corpora(folder)
    wanted: dict[int, dict[str, str]] = {}
    seconds: dict[int, float] = {}
    done = 0
    for through in itertools.count():
        if done >= kills:
            return through
        variant = through % len(VARIANTS)
        kind, options = VARIANTS[variant]
        code = RUN.format(options=options)

        def command(output: Path, code: str = code, kind: str = kind) -> list[str]:
            return [sys.executable, "-c", code, str(output), str(inputs[kind])]

        if variant not in wanted:
            begun = time.perf_counter()
            subprocess.run(command(folder / f"undisturbed-{variant}"), check=True)
            seconds[variant] = time.perf_counter() - begun
            wanted[variant] = digest(folder / f"undisturbed-{variant}")
        output = folder / f"killed-{through}"
        while True:
            run = subprocess.Popen(command(output))
            moment = rng.uniform(0.2, 1.0) * seconds[variant] if done < kills else None
            try:
                ended = run.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                run.wait()
                done += 1
                continue
            assert ended == 0, f"a run of {kind} {options} that went on ended with {ended}"
            break
        found = digest(output)
        names = wanted[variant] | found
        differ = [name for name in names if wanted[variant].get(name) != found.get(name)]
        assert not differ, f"{kind} {options}: after kills these differ: {differ}"
    raise AssertionError("not reached")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        count = int(sys.argv[1])
        runs = torture(count, int(sys.argv[2]) if len(sys.argv) > 2 else 0, Path(scratch))
        print(f"{count} kills, {runs} runs came through, all with the same bytes")
