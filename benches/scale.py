"""Time, memory and disk of a run as the corpus grows, and what `estimate` said of them before.

    python benches/scale.py --sizes 10MB 100MB 1GB 5GB --index auto exact clustered hnsw

A corpus is repeated until it is large enough; every repeat has four of ten words replaced by others
of the corpus, by seed, so that no two documents are copies. Each run is a process of its own, asked
for its memory 20 times a second: what it holds (`RssAnon`), without the files it has mapped. An
estimate is a process of its own too, before the run, with the same arguments; beside each figure
stands what it said, as a share of what was measured.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import nextlong_rs as nl
from nextlong_rs.run.memory import held_now, parse_bytes

REPLACED = 0.4
FILE_BYTES = 100_000_000

RUN = """
import json, sys
import nextlong_rs as nl
given = json.loads(sys.argv[1])
nl.synthesize(given.pop("inputs"), given.pop("output"), progress=False, **given)
"""

ESTIMATE = """
import dataclasses, json, sys
import nextlong_rs as nl
given = json.loads(sys.argv[1])
for name in ("output", "overwrite", "resume"):
    del given[name]
print(json.dumps(dataclasses.asdict(nl.estimate(given.pop("inputs"), **given))))
"""


def documents(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a JSONL.zst file."""
    import zstandard

    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        for line in io.TextIOWrapper(reader, encoding="utf-8"):
            yield json.loads(line)


def write_part(corpus: Path, repeat: int, most: int, path: Path) -> int:
    """Writes one repeat of the corpus, of at most so many bytes of text; gives how many."""
    rng = random.Random(f"scale {repeat}")
    pool: list[str] = []
    written = 0
    with path.open("w", encoding="utf-8") as out:
        for row in documents(corpus):
            text = row["text"]
            if repeat:
                words = text.split(" ")
                pool = (pool + rng.sample(words, min(len(words), 200)))[-20_000:]
                places = rng.sample(range(len(words)), int(len(words) * REPLACED))
                for place, word in zip(places, rng.choices(pool, k=len(places)), strict=True):
                    words[place] = word
                text = " ".join(words)
            size = len(text.encode())
            if written + size > most:
                continue
            json.dump({"id": f"{repeat}/{row.get('id')}", "text": text}, out, ensure_ascii=False)
            out.write("\n")
            written += size
            if most - written < 10_000:
                break
    return written


def make(corpus: Path, size: int, folder: Path) -> int:
    """A folder of JSONL files with about `size` bytes of text."""
    folder.mkdir(parents=True)
    whole = sum(len(row["text"].encode()) for row in documents(corpus))
    count = -(-size // whole)
    most = [min(whole, size - repeat * whole) for repeat in range(count)]
    with ProcessPoolExecutor() as pool:
        tasks = [
            pool.submit(write_part, corpus, repeat, most[repeat], folder / f"{repeat:05}.jsonl")
            for repeat in range(count)
        ]
        return sum(task.result() for task in tasks)


def measure(options: dict[str, object]) -> tuple[float, float, int]:
    """Seconds of a run in a process of its own, its CPU seconds, and the most memory it held."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", RUN, json.dumps(options)])
    peak = 0
    while process.poll() is None:
        peak = max(peak, held_now(process.pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"the run failed with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, busy, peak


def estimated(options: dict[str, object]) -> dict[str, Any]:
    """What `estimate` says, from a process of its own."""
    command = [sys.executable, "-c", ESTIMATE, json.dumps(options)]
    told: dict[str, Any] = json.loads(subprocess.check_output(command))
    return told


def disk(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def stages(seconds: dict[str, float], told: dict[str, float]) -> str:
    """The seconds of each stage, and what was said of it."""
    return ", ".join(
        f"{name} {value:.1f} ({told.get(name, 0.0):.1f})"
        for name, value in seconds.items()
        if name != "total" and value >= 0.05
    )


def main() -> None:
    """Prints a line a size, and one of the stages under it."""
    shared = Path(__file__).resolve().parents[2] / "shared"
    medium = shared / "corpus" / "corpus_medium.jsonl.zst"
    tokenizer = shared / "tokenizers" / "qwen3" / "tokenizer.json"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", default=medium if medium.exists() else nl.sample_corpus())
    parser.add_argument(
        "--tokenizer", default=tokenizer if tokenizer.exists() else nl.sample_tokenizer()
    )
    parser.add_argument(
        "--sizes", nargs="+", default=["10MB", "100MB", "1GB", "5GB"], help="of text, with a unit"
    )
    parser.add_argument("--index", nargs="+", default=["auto"])
    parser.add_argument("--memory-limit", default="2GB")
    parser.add_argument("--seq-len", type=int, default=131_072)
    parser.add_argument("--num-sequences", type=int, default=20)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", help="where the corpora are made, and kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        print(
            "| text | engine | chunks | s | CPU s | held at most | disk | recall "
            "| stages, s (as estimated) |"
        )
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        for size in given.sizes:
            corpus = folder / f"corpus-{size}"
            if not corpus.exists():
                made = make(Path(given.corpus), parse_bytes(size), corpus)
                (corpus / ".bytes").write_text(str(made))
            for index in given.index:
                output = folder / "out"
                options = {
                    "inputs": str(corpus),
                    "output": str(output),
                    "tokenizer": str(given.tokenizer),
                    "seq_len": given.seq_len,
                    "num_sequences": given.num_sequences,
                    "index": index,
                    "memory_limit": given.memory_limit,
                    "threads": given.threads,
                    "overwrite": True,
                    "resume": False,
                }
                told = estimated(options)
                seconds, busy, peak = measure(options)
                summary = nl.Result.open(output).manifest["summary"]
                measured = json.loads((output / "work" / "measured.json").read_text())["seconds"]
                chunks, held = summary["corpus"]["chunks"], disk(output)
                total = sum(told["seconds"].values())
                print(
                    f"| {int((corpus / '.bytes').read_text()) / 1e6:,.0f} MB "
                    f"| {summary['retrieval']['engine']} "
                    f"| {chunks:,} ({told['chunks'] / chunks:.2f}) "
                    f"| {seconds:.1f} ({total / seconds:.2f}) | {busy:.1f} "
                    f"| {peak / 1e6:,.0f} MB ({told['memory_bytes'] / peak:.2f}) "
                    f"| {held / 1e9:,.2f} GB ({told['disk_bytes'] / held:.2f}) "
                    f"| {summary['retrieval']['recall']:.3f} "
                    f"| {stages(measured, told['seconds'])} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
