"""End to end: a corpus to sequences, beside `baseline.py`, and two threads beside one.

Every run is a process of its own; imports are not in the figure, loading the tokenizer is. Both sides
use all cores, write or keep the same number of sequences of the same length, and measure their recall
(ours against exact search in full precision, the baseline's against its own exhaustive search). The
baseline takes what its retrieval costs with the faster of faiss's HNSW and flat index for this input,
the release candidate of `tokenizers` where a copy lies in `NEXTLONG_TOKENIZERS_RC`, and leaves out what
ours does besides: near-duplicate checks by words, `max_reuse`, spans, files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
OURS = """
import json, sys, time
import nextlong_rs as nl, numpy
corpus, output, tokenizer, seq_len, count, threads = sys.argv[1:]
settings = nl.Settings(seq_len=int(seq_len), num_sequences=int(count) or None)
nl.synthesize
begun = time.perf_counter()
nl.synthesize(
    corpus, output, tokenizer=tokenizer, settings=settings, threads=int(threads), progress=False
)
seconds = time.perf_counter() - begun
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([seconds, time.process_time(), int(status["VmHWM"].split()[0]) * 1024]))
"""
CORES = len(os.sched_getaffinity(0))


def size(inputs: Any) -> tuple[int, int]:
    """The length and the number of the sequences: 50 M tokens of a large corpus."""
    return (131_072, 381) if inputs.corpus.name.startswith("corpus_medium") else (16_384, 40)


def environment(**more: str) -> dict[str, str]:
    """What the processes get: all cores for every library."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS")
    }
    return {**kept, **more}


@pytest.fixture(scope="module")
def ours(inputs: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs ours with some threads: seconds and the run's facts, the best of two."""
    folder = tmp_path_factory.mktemp("ours") / "out"
    package = str(HERE.parent / "python")

    @cache
    def run(threads: int, *, every: bool = False) -> tuple[float, dict[str, Any]]:
        seq_len, count = size(inputs)
        if every:
            count = 0
        arguments = [inputs.corpus, folder, inputs.tokenizer, seq_len, count, threads]
        runs = []
        for _ in range(2):
            # Into an empty folder: the older files are not removed at the run's cost.
            shutil.rmtree(folder, ignore_errors=True)
            done = subprocess.run(
                [sys.executable, "-c", OURS, *map(str, arguments)],
                env=environment(PYTHONPATH=package),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            facts = json.loads((folder / "manifest.json").read_text())["summary"]
            facts["measured"] = json.loads((folder / "work" / "measured.json").read_text())
            seconds, facts["cpu"], facts["peak_memory_bytes"] = json.loads(done.stdout)
            facts["folder"] = folder
            runs.append((seconds, facts))
        return min(runs, key=lambda one: one[0])

    return run


def stages_of(seconds: dict[str, float]) -> str:
    """The seconds of the stages on one line."""
    return ", ".join(f"{name} {taken:.2f}" for name, taken in seconds.items())


@pytest.mark.parametrize("threads", sorted({1, CORES}))
def test_ours(benchmark: Any, report: Any, inputs: Any, ours: Any, threads: int) -> None:
    """The whole run on the real corpus."""
    from benches.baseline import same_document_recall

    seconds, facts = benchmark.pedantic(ours, (threads,), rounds=1)
    made = facts["sequences"]
    assert made["made"] == size(inputs)[1]
    if threads == CORES:
        stage = f"end to end, {made['made']} sequences of {size(inputs)[0]:,}"
        vectors = np.concatenate(
            [np.load(part) for part in sorted(facts["folder"].glob("work/embed/part-*.npy"))]
        ).astype(np.float32)
        owner = owners(facts["folder"])
        report(
            stage,
            f"nextlong_rs, {threads} threads",
            made["tokens"],
            "tokens/s",
            seconds=seconds,
            s=seconds,
            CPU_s=facts["cpu"],
            recall=facts["retrieval"]["recall"],
            same_document=same_document_recall(vectors, owner),
            GB=facts["peak_memory_bytes"] / 1e9,
        )
    else:
        report(
            f"{CORES} threads beside one, end to end",
            "one thread",
            made["tokens"],
            "tokens/s",
            ours=False,
            seconds=seconds,
            ratio=0.9 * CORES,
            s=seconds,
        )
    print(stages_of(facts["measured"]["seconds"]))


def owners(folder: Path) -> Any:
    """The document number of every chunk of a run."""
    from nextlong_rs import _nextlong

    return _nextlong.ChunkStore(sorted(folder.glob("work/chunks/part-*.arrow"))).documents()


def test_all_threads(benchmark: Any, report: Any, ours: Any) -> None:
    """The run of `test_ours` once more, as the other side of the ratio between threads."""
    if CORES == 1:
        pytest.skip("one core")
    seconds, facts = benchmark.pedantic(ours, (CORES,), rounds=1)
    who = f"nextlong_rs, {CORES} threads"
    tokens = facts["sequences"]["tokens"]
    stage = f"{CORES} threads beside one, end to end"
    report(stage, who, tokens, "tokens/s", seconds=seconds, s=seconds)


def test_every_document(benchmark: Any, report: Any, inputs: Any, ours: Any) -> None:
    """As many sequences as `max_reuse` allows: the last ones have to look for what is left."""
    seconds, facts = benchmark.pedantic(ours, (CORES,), {"every": True}, rounds=1)
    made = facts["sequences"]
    assert made["made"] > size(inputs)[1]
    report(
        f"end to end, all {made['made']} sequences of {size(inputs)[0]:,}",
        f"nextlong_rs, {CORES} threads",
        made["tokens"],
        "tokens/s",
        seconds=seconds,
        s=seconds,
        CPU_s=facts["cpu"],
        left_out=made["no_chunks_left"],
        GB=facts["peak_memory_bytes"] / 1e9,
    )
    print(stages_of(facts["measured"]["seconds"]))


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_baseline(benchmark: Any, report: Any, inputs: Any, kind: str) -> None:
    """The obvious Python pipeline, once with each index."""
    pytest.importorskip("faiss")
    pytest.importorskip("sklearn")
    seq_len, count = size(inputs)
    candidate = os.environ.get("NEXTLONG_TOKENIZERS_RC")
    command = [sys.executable, str(HERE / "baseline.py"), str(inputs.corpus), str(inputs.tokenizer)]
    command += [f"--seq-len={seq_len}", f"--num-sequences={count}", f"--kind={kind}", "--json"]

    def run() -> dict[str, Any]:
        done = subprocess.run(
            command,
            env=environment(PYTHONPATH=candidate) if candidate else environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    facts = benchmark.pedantic(run, rounds=1)
    made = facts["sequences"]
    report(
        f"end to end, {count} sequences of {seq_len:,}",
        f"baseline.py, faiss {kind}, tokenizers {facts['tokenizers']}",
        facts["tokens"],
        "tokens/s",
        seconds=facts["total"],
        ratio=10.0,
        s=facts["total"],
        CPU_s=facts["cpu_seconds"],
        recall=facts["recall"],
        same_document=facts["same_document_recall"],
        GB=facts["peak_memory_bytes"] / 1e9,
    )
    assert made == count
    print(stages_of(facts["seconds"]))
