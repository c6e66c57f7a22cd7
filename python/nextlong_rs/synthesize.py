"""The whole run: corpus in, sequences out. The only place that sees every room."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextlong_rs import _nextlong
from nextlong_rs.corpus import inputs as corpora
from nextlong_rs.engine.pool import Pool, thread_count
from nextlong_rs.engine.progress import Bar
from nextlong_rs.errors import ConfigError, RunError
from nextlong_rs.run.directory import Run
from nextlong_rs.run.files import write_json
from nextlong_rs.run.memory import LITTLE, Budget, Need, needs, parse_bytes
from nextlong_rs.run.tasks import FORMAT
from nextlong_rs.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nextlong_rs.result.result import Result
    from nextlong_rs.tokenize.tokenizer import SpecialIds, Tokenizer

__all__ = ["Job", "Prepared", "prepare", "synthesize"]

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
    **options: Any,
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
    if embedder is not None:
        from nextlong_rs.embed.resolve import describe

        options["embedder"] = describe(embedder)
    given = prepare(inputs, tokenizer=tokenizer, settings=settings, options=options)
    with Pool(1) as beside:
        # Most of loading a tokenizer, and the only part that the corpus need not wait for.
        separator = beside.submit_last(given.separator)
        if thread_count(threads) == 1:
            beside.wait(separator)
        from nextlong_rs.result.result import Result
        from nextlong_rs.stage import chunk as cutting
        from nextlong_rs.stage import embed as stages
        from nextlong_rs.stage import groups as grouping
        from nextlong_rs.stage import mine as sequencing

        chosen, listing, special = given.settings, given.listing, given.special
        run = Run(output, shown=progress is True)
        inside = os.path.realpath(run.output) + os.sep
        for one in listing:
            if run.work.is_dir() and one.path and os.path.realpath(one.path).startswith(inside):
                raise ConfigError(
                    f"input {one.name} lies in output {run.output}; name another folder"
                )
        facts = {
            "settings": chosen.to_dict(),
            "tokenizer": {"hash": given.tokenizer.hash, "bos": special.bos, "eos": special.eos},
            "versions": versions(),
        }
        recorded = {
            "format": FORMAT,
            **facts,
            "inputs": [corpora.describe(one) for one in listing],
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
            begun = time.perf_counter()
            write_json(run.work / "run.json", recorded)

            job.check_memory()
            store = cutting.chunk(job, listing, given.tokenizer)
            job.check_memory(len(store))
            if separator.done():
                # A tokenizer that cannot be used ends the run before more work is done.
                beside.wait(separator)
            vectors = stages.embed(job, store, chosen.embedder if embedder is None else embedder)
            queue = stages.plan(job, store, listing)
            search = stages.index(job, store, vectors, queue)
            groups = grouping.group(job, store, stages.detected_groups(job, store))
            metadata = json.dumps(facts, ensure_ascii=False)
            encoding = (given.tokenizer, special, beside.wait(separator))
            for note in given.tokenizer.notes:
                run.say(f"{given.tokenizer.name}: {note}")
            selector, parts = sequencing.mine(
                job, store, vectors, search, queue, *encoding, metadata, groups
            )
            if len(selector) == 0:
                raise RunError(nothing_made(job.summary["sequences"]))
            if groups is not None:
                grouping.report(job, store, vectors, selector)
            files = sequencing.write(job, parts, len(selector), metadata)

            if (asked := chosen.num_sequences) is not None and len(selector) < asked:
                run.say(
                    f"{len(selector)} of {asked} sequences made: no more documents can be one "
                    "under the rules (the summary counts why)"
                )
            if warning := hardly_alike(job.summary.get("similarity", {}), len(selector)):
                run.say(warning)
            measured = {
                "seconds": {**job.seconds, "total": time.perf_counter() - begun},
                "peak_memory_bytes": peak_memory(),
                "threads": job.threads,
                "notes": run.notes,
            }
            write_json(run.work / "measured.json", measured)
            write_json(
                run.output / "manifest.json", {**recorded, "files": files, "summary": job.summary}
            )
    return Result.open(run.output)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run is given, read and checked.

    Attributes:
        settings: Its settings.
        listing: Its inputs, one by one.
        tokenizer: Its tokenizer, which encodes once `separator` was called.
        special: The ids that begin and end a sequence.
    """

    settings: Settings
    listing: list[corpora.Input]
    tokenizer: Tokenizer
    special: SpecialIds

    def separator(self) -> NDArray[np.uint32]:
        """Makes the tokenizer ready: the ids between two chunks."""
        self.tokenizer.ready()
        return self.tokenizer.separator_ids(self.settings.chunk_separator, eos=self.special.eos)


def prepare(
    inputs: Any, *, tokenizer: Any, settings: Settings | None, options: dict[str, Any]
) -> Prepared:
    """Reads and checks what a run is given, without touching its folder."""
    from nextlong_rs.tokenize.tokenizer import load

    # On a thread, so that Ctrl-C is heard while a large file is read.
    with Pool(1) as pool:
        chosen = Settings.of(settings, **options)
        listing = corpora.resolve(inputs)
        loaded = pool.call(lambda: load(tokenizer, lazy=True))
    special = loaded.special_ids(bos=chosen.bos, eos=chosen.eos)
    loaded.check_separator(chosen.chunk_separator, eos=special.eos)
    return Prepared(chosen, listing, loaded, special)


def nothing_made(counts: dict[str, Any]) -> str:
    """Why no sequence was made, and what to change."""
    return (
        f"no sequence could be made of {counts['eligible_documents']} documents: "
        f"{counts['dropped_short'] + counts['no_chunks_left']} ran out of allowed negatives, "
        f"{counts['long_skipped']} are longer than seq_len; give more documents or a smaller "
        "seq_len, loosen the rules on negatives (max_score, max_containment, max_reuse, "
        "max_per_doc), or set on_short='shorten'"
    )


def hardly_alike(similarity: dict[str, Any], sequences: int) -> str | None:
    """What to do about last sequences that took what no other wanted, if they did."""
    first, last = (similarity.get(f"{which}_sequences") for which in ("first", "last"))
    if sequences < _ENOUGH_TO_JUDGE or first is None or last is None or last >= first / 2:
        return None
    return (
        "the negatives of the last tenth of the sequences are hardly like their meta-chunks: a mean "
        f"similarity of {last:.2f}, {first:.2f} in the first tenth; make fewer (num_sequences), set "
        "a limit (min_score), or give more documents"
    )


def versions() -> dict[str, str]:
    """The versions that the bytes of a run depend on."""
    from importlib.metadata import version

    return {"nextlong_rs": version("nextlong_rs"), "machine": platform.machine()}


def peak_memory() -> int:
    """The most memory that this process held, in bytes, mapped files in use included."""
    try:
        # What `getrusage` tells begins with the peak of the process that started this one.
        text = Path("/proc/self/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return usage if sys.platform == "darwin" else usage * 1024


class Job:
    """What the stages of one run share: settings, folders, threads, and what they report."""

    def __init__(
        self,
        settings: Settings,
        run: Run,
        *,
        threads: int | None,
        memory_limit: int | str | None = None,
        progress: bool,
        needed: Future[Any] | None = None,
    ) -> None:
        """Of the settings and the folder of a run, and what it `needed` that is still being made."""
        if not isinstance(progress, bool):
            raise ConfigError(f"progress is {progress!r}, expected True or False")
        self.settings = settings
        self.core = _nextlong.Settings(settings.to_json())
        self.run = run
        self.threads = thread_count(threads)
        self.budget = Budget(None if memory_limit is None else parse_bytes(memory_limit))
        self.progress = progress
        self.version = versions()["nextlong_rs"]
        self.digests: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.summary: dict[str, Any] = {}
        self._needed = needed

    def check_needed(self) -> None:
        """Stops the run as soon as it is known that it cannot be finished."""
        if self._needed is not None and self._needed.done():
            self._needed.result()

    def check_memory(self, chunks: int = 0) -> None:
        """Refuses a limit that a stage would pass hours later: before the first begins, and again
        when the number of chunks is known.
        """
        for name, need in needs(self.settings, chunks=chunks, kept=self.budget.kept).items():
            if name != "fit" or self.settings.embedder == "lsa":
                self.budget.threads(name, 1, need)

    @contextmanager
    def stage(
        self,
        name: str,
        need: Need = LITTLE,
        *,
        total: float | None = None,
        unit: str = "",
        spare: int = 0,
    ) -> Iterator[Pool]:
        """A pool and a bar for one stage, with as many threads as its memory allows, and `spare` ones
        that the need shared by all has room for.
        """
        self.check_needed()
        threads = self.budget.threads(name, self.threads, need)
        with Bar(name, total, unit=unit, shown=self.progress) as bar:
            with Pool(threads, bar=bar, spare=spare) as pool:
                yield pool
        self.seconds[name] = self.seconds.get(name, 0.0) + bar.seconds

    def report(self, group: str, **facts: Any) -> None:
        """Adds facts to a group of the summary."""
        self.summary.setdefault(group, {}).update(facts)
