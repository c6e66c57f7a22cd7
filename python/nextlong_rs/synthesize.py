"""A whole run: a corpus in, sequences out, one stage after another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from nextlong_rs.corpus.inputs import Input
from nextlong_rs.corpus.inputs import describe as describe_input
from nextlong_rs.embed.resolve import describe as describe_embedder
from nextlong_rs.engine.pool import Pool, thread_count
from nextlong_rs.errors import ConfigError, RunError
from nextlong_rs.options import Options
from nextlong_rs.result.result import Result
from nextlong_rs.run.directory import Run
from nextlong_rs.run.files import write_json
from nextlong_rs.run.memory import peak_memory
from nextlong_rs.run.tasks import FORMAT
from nextlong_rs.run.versions import versions
from nextlong_rs.settings import Settings
from nextlong_rs.stage.chunk import chunk
from nextlong_rs.stage.context import Job
from nextlong_rs.stage.embed import embed
from nextlong_rs.stage.fit import fit
from nextlong_rs.stage.groups import detected_groups, group, report
from nextlong_rs.stage.index import index
from nextlong_rs.stage.mine import mine
from nextlong_rs.stage.plan import plan
from nextlong_rs.stage.prepare import Prepared, prepare
from nextlong_rs.stage.write import write

__all__ = ["synthesize"]

_ENOUGH_TO_JUDGE = 20
"""Sequences of which a tenth says something."""


def synthesize(
    inputs: Any,
    output: str | PathLike[str],
    *,
    tokenizer: Any,
    settings: Settings | None = None,
    embedder: Any = None,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    progress: bool = True,
    resume: bool = True,
    overwrite: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Make long-context training sequences from a corpus of short documents.

    Args:
        inputs: Paths, globs or folders of JSONL (.gz, .zst), Parquet and text files; or an
            iterable of strings or mappings, a `datasets.Dataset`, a `pyarrow.Table`. Several
            inputs as a list; `{input: weight}` or `[(input, weight), …]` draws meta-documents in
            proportion to the weights.
        output: The run's folder: `part-*.parquet`, `manifest.json` last, `work/`.
        tokenizer: A `tokenizer.json` (path or folder), a `tokenizers.Tokenizer`, or a Hugging Face
            tokenizer.
        settings: Settings to start from. Default: `Settings()`.
        embedder: Overrides `settings.embedder`: `"lsa"`, an `Embedder`, a path, a callable
            `list[str] -> float array [n, d]` (called in batches, in order, on this thread), or an
            array `[chunks, d]` aligned with the chunks.
        threads: How many threads work. Default: the cores this process may use. The result does
            not depend on it.
        memory_limit: The most memory that the process may hold, mapped files aside, as bytes or
            `"2GB"`: fewer threads work side by side in a stage where more would pass it. The
            result does not depend on it. A document of many MB adds several times its size, a
            callable embedder what it holds itself. Default: no limit.
        progress: Whether bars are shown on stderr.
        resume: Keep what an earlier run in `output` finished: the same call again does only what
            is missing, changed settings or inputs redo the stages that they touch, and a line on
            stderr (and `measured.json`) says which it was. False starts over.
        overwrite: Replace a finished run of other settings in `output`.
        **options: Any field of `Settings`, or `mode="paper"`.

    Returns:
        The result: prints what was read, made and rejected; `to_dataset()`, `explain(i)`.

    Raises:
        ConfigError: A wrong setting, an unknown one (the closest is named), no such input, or a
            `memory_limit` that one thread would pass.
        CorpusError: A damaged input, or more unusable rows than `max_error_rate` allows.
        TokenizerError: A tokenizer that cannot be used.
        EmbeddingError: An embedder that failed or gave unusable vectors.
        RunError: `output` holds something else, a finished run of other settings (without
            `overwrite`), or another process works there; or not one sequence could be made.

    Source: method.md; Gao et al., ICML 2025, arXiv 2501.12766, section 3.
    """
    named = {} if embedder is None else {"embedder": describe_embedder(embedder)}
    given = prepare(inputs, tokenizer=tokenizer, settings=settings, options={**options, **named})
    chosen, listing = given.settings, given.listing
    with Pool(1) as beside:
        # Most of loading a tokenizer, and the only part that the corpus need not wait for.
        separator = beside.submit_last(given.separator)
        if thread_count(threads) == 1:
            beside.wait(separator)
        run = Run(output, shown=progress is True)
        _check_outside(run, listing)
        facts = _facts(given)
        recorded = {
            "format": FORMAT,
            **facts,
            "inputs": [describe_input(one) for one in listing],
        }
        with run.lock():
            job = Job(
                chosen,
                run,
                threads=threads,
                memory_limit=memory_limit,
                progress=progress,
                needed=separator,
            )
            # For a tokenizer that may be unusable nothing is removed and no iterator used up; chunks
            # may be cut by its tokens, and a limit counts what it holds.
            if (
                run.is_begun
                or any(one.path is None for one in listing)
                or chosen.chunk_unit == "tokens"
                or memory_limit is not None
            ):
                beside.wait(separator)
            run.prepare(recorded, resume=resume, overwrite=overwrite)
            started = time.perf_counter()
            write_json(run.work / "run.json", recorded)
            files = _run_stages(
                job,
                given,
                chosen.embedder if embedder is None else embedder,
                lambda: beside.wait(separator),
                json.dumps(facts, ensure_ascii=False),
            )
            measured = {
                "seconds": {**job.seconds, "total": time.perf_counter() - started},
                "peak_memory_bytes": peak_memory(),
                "threads": job.threads,
                "notes": run.notes,
            }
            write_json(run.work / "measured.json", measured)
            write_json(
                run.output / "manifest.json", {**recorded, "files": files, "summary": job.summary}
            )
    return Result.open(run.output)


def _run_stages(
    job: Job,
    given: Prepared,
    embedder: Any,
    separator: Callable[[], NDArray[np.uint32]],
    metadata: str,
) -> list[dict[str, Any]]:
    """Run all stages in their order; returns the output files.

    `separator` waits for the ids between two chunks, and raises what loading the tokenizer raised.
    """
    job.check_memory()
    store = chunk(job, given.listing, given.tokenizer)
    job.check_memory(len(store))
    # A tokenizer that cannot be used ends the run before more work is done.
    job.check_needed()
    vectors = embed(job, store, fit(job, store, embedder))
    queue = plan(job, store, given.listing)
    search = index(job, store, vectors, queue)
    groups = group(job, store, detected_groups(job, store))
    encoding = (given.tokenizer, given.special, separator())
    for note in given.tokenizer.notes:
        job.run.say(f"{given.tokenizer.name}: {note}")
    selector, parts = mine(job, store, vectors, search, queue, *encoding, metadata, groups)
    if len(selector) == 0:
        raise RunError(nothing_made(job.summary["sequences"]))
    if groups is not None:
        report(job, store, vectors, selector)
    files = write(job, parts, len(selector), metadata)
    if (asked := job.settings.num_sequences) is not None and len(selector) < asked:
        job.run.say(
            f"{len(selector)} of {asked} sequences made: no more documents can be one "
            "under the rules (the summary counts why)"
        )
    if warning := hardly_alike(job.summary.get("similarity", {}), len(selector)):
        job.run.say(warning)
    return files


def _check_outside(run: Run, listing: Sequence[Input]) -> None:
    """Refuse inputs that lie in the folder of the run."""
    inside = os.path.realpath(run.output) + os.sep
    for one in listing:
        if run.work.is_dir() and one.path and os.path.realpath(one.path).startswith(inside):
            raise ConfigError(f"input {one.name} lies in output {run.output}; name another folder")


def _facts(given: Prepared) -> dict[str, Any]:
    """What the output depends on besides the inputs, as the files and the manifest record it."""
    special = given.special
    return {
        "settings": given.settings.to_dict(),
        "tokenizer": {"hash": given.tokenizer.hash, "bos": special.bos, "eos": special.eos},
        "versions": versions(),
    }


def nothing_made(counts: dict[str, Any]) -> str:
    """Why no sequence was made, and what to change."""
    return (
        f"no sequences produced from {counts['eligible_documents']} documents: "
        f"{counts['dropped_short'] + counts['no_chunks_left']} had too few eligible negatives, "
        f"{counts['long_skipped']} are longer than `seq_len`; hint: add documents, lower `seq_len`, "
        "relax the rules on negatives (max_score, max_containment, max_reuse, max_per_doc), or set "
        "on_short='shorten'"
    )


def hardly_alike(similarity: dict[str, Any], sequences: int) -> str | None:
    """What to do about last sequences that took what no other wanted, if they did."""
    first, last = (similarity.get(f"{which}_sequences") for which in ("first", "last"))
    if sequences < _ENOUGH_TO_JUDGE or first is None or last is None or last >= first / 2:
        return None
    return (
        f"negatives in the last 10 % of the sequences are weak (mean similarity {last:.2f}, "
        f"{first:.2f} in the first 10 %); hint: reduce `num_sequences`, set `min_score`, or add "
        "documents"
    )
