"""Kills a small run at seeded random moments, goes on with it, and compares the bytes.

    python tests/killing.py KILLS [SEED]

Each round runs the same command until it is killed, at a moment drawn between its start and a bit
past its usual end, again and again in one folder until it once comes through.
"""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = """
import sys
import nextlong_rs as nl
from nextlong_rs import parts
# Eight output files, so that some are written while mining goes on.
parts.PART_TOKENS = 4096 * 8
nl.synthesize(
    nl.sample_corpus(), output=sys.argv[1], tokenizer=nl.sample_tokenizer(),
    seq_len=4096, num_sequences=64, chunk_size=1024, threads=2, progress=False, {options}
)
"""


def digest(output: Path) -> dict[str, str]:
    """The hashes of all that a run leaves beside its measurements and markers."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file()
        and path.name not in ("measured.json", "lock")
        and "_done" not in path.relative_to(output).parts
    }


def torture(kills: int, seed: int, folder: Path, options: str = "") -> int:
    """Kills `kills` times; gives how many runs came through between them.

    Raises:
        AssertionError: A run that went on left other bytes than an undisturbed one.
    """
    rng = random.Random(seed)

    def start(output: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", RUN.format(options=options), str(output)])

    begun = time.perf_counter()
    assert start(folder / "undisturbed").wait() == 0
    seconds = time.perf_counter() - begun
    wanted = digest(folder / "undisturbed")
    done, through = 0, 0
    while done < kills:
        output = folder / f"killed-{through}"
        while True:
            run = start(output)
            try:
                code = run.wait(timeout=rng.uniform(0.2, 1.0) * seconds if done < kills else None)
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                run.wait()
                done += 1
                continue
            assert code == 0, f"a run that went on ended with {code}"
            break
        found = digest(output)
        differ = [name for name in wanted | found if wanted.get(name) != found.get(name)]
        assert not differ, f"after kills these differ: {differ}"
        through += 1
    return through


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        count = int(sys.argv[1])
        runs = torture(count, int(sys.argv[2]) if len(sys.argv) > 2 else 0, Path(scratch))
        print(f"{count} kills, {runs} runs came through, all with the same bytes")
