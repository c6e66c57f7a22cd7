"""Reads the corpus and cuts it into chunks, several input shards in parallel: `work/chunks`.

In: the listing of the inputs. Out: the chunk store, and the rows that cannot be used. A lane is what
one thread at a time reads: a file, or several small ones. Its blocks are the tasks of the stage, so
their files are the same whatever the number of threads.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nextlong_rs import _nextlong
from nextlong_rs.corpus import blocks
from nextlong_rs.corpus.inputs import Input, describe
from nextlong_rs.errors import CorpusError
from nextlong_rs.run.files import write_lines
from nextlong_rs.run.tasks import Tasks
from nextlong_rs.settings import Settings
from nextlong_rs.stage.context import Job
from nextlong_rs.stage.needs import needs
from nextlong_rs.tokenize.tokenizer import Tokenizer

__all__ = ["CHUNK_SETTINGS", "chunk", "corpus_config", "lanes"]

CHUNK_SETTINGS = (
    "text_column",
    "id_column",
    "score_column",
    "source_column",
    "max_document_bytes",
    "chunk_size",
    "chunk_unit",
    "chunk_mode",
)
"""What the files of the stage follow from, besides the inputs."""

Task = tuple[int, int]
"""The number of a lane, and that of a block in it."""
Marker = dict[str, Any]


_LANE_BYTES = 16 * blocks.BLOCK_BYTES
_NAME_BYTES = 256


def corpus_config(settings: Settings) -> blocks.CorpusConfig:
    """The settings of the corpus reader."""
    return blocks.CorpusConfig(
        text_column=settings.text_column,
        id_column=settings.id_column,
        score_column=settings.score_column,
        source_column=settings.source_column,
        max_document_bytes=settings.max_document_bytes,
        max_error_rate=settings.max_error_rate,
    )


def lanes(inputs: Sequence[Input]) -> list[list[Input]]:
    """What can be read side by side: every input, but text files in groups.

    Args:
        inputs: What `resolve` gave.

    Returns:
        The inputs in their order, cut by their kinds and sizes alone. A lane is not empty, and its
        inputs, where they are several, are text files that follow each other.
    """
    found: list[list[Input]] = []
    held = 0
    for one in inputs:
        # A name counts too: files may be many and empty.
        size = (one.size or 0) + _NAME_BYTES
        joins = found and one.kind == found[-1][-1].kind == "text"
        if joins and held + size <= _LANE_BYTES:
            found[-1].append(one)
            held += size
        else:
            found.append([one])
            held = size
    return found


@dataclass
class _Lane:
    """Inputs that are read one after another, and how far they are.

    Attributes:
        number: Its number.
        inputs: The inputs.
        place: Where its next block begins: the number of the input, and the place in it.
        begun: The blocks that were begun.
        whole: Whether there are no more.
    """

    number: int
    inputs: list[Input]
    place: tuple[int, int, int]
    begun: int = 0
    whole: bool = False
    reading: Iterator[blocks.Block] | None = None

    @property
    def in_memory(self) -> bool:
        """Whether it is no file."""
        return self.inputs[0].path is None

    @property
    def is_read(self) -> bool:
        """Whether the last block reached the end of the last input."""
        return self.place[0] > self.inputs[-1].number


class _Counts:
    """What the finished tasks add up to, in the order of the corpus: the share of bad rows is judged
    in it, so that it does not depend on which file is read first.
    """

    def __init__(self, lanes: list[_Lane], judge: Callable[[int, Counter[str]], None]) -> None:
        self.reasons: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.tasks: list[Task] = []
        self.markers: list[Marker] = []
        self._lanes = lanes
        self._judge = judge
        self._waiting: dict[Task, Marker] = {}
        self._next = (0, 0)

    @property
    def rows(self) -> int:
        """Good and bad ones."""
        return self.totals["documents"] + self.reasons.total()

    def add(self, task: Task, marker: Marker) -> None:
        """Takes the marker of a task, in whatever order they come."""
        self._waiting[task] = marker
        self.settle()

    def settle(self) -> None:
        """Counts what is finished without a gap before it."""
        while self._next[0] < len(self._lanes):
            lane = self._lanes[self._next[0]]
            marker = self._waiting.pop(self._next, None)
            if marker is None:
                if not (lane.whole and self._next[1] == lane.begun):
                    return
                self._next = (self._next[0] + 1, 0)
                continue
            self.tasks.append(self._next)
            self.markers.append(marker)
            self._next = (self._next[0], self._next[1] + 1)
            names = ("documents", "chunks", "text_bytes")
            self.totals.update({name: marker[name] for name in names})
            self.reasons.update(marker["bad"])
            self._judge(self.rows, self.reasons)


def chunk(
    job: Job,
    listing: Sequence[Input],
    tokenizer: Tokenizer,
    sample: Iterable[blocks.Block] | None = None,
) -> _nextlong.ChunkStore:
    """Reads the corpus and cuts it: `work/chunks/part-*.arrow`, bad rows to quarantine.jsonl.

    A `sample` of blocks is cut in place of those of the whole corpus, for an estimate.
    """
    settings, run = job.settings, job.run
    config = corpus_config(settings)
    by_tokens = settings.chunk_unit == "tokens"
    tasks = run.tasks(
        "chunk",
        **settings.named(CHUNK_SETTINGS),
        version=job.version,
        inputs=[describe(one) for one in listing],
        tokenizer=tokenizer.hash if by_tokens else None,
    )
    # What an iterable gives cannot be known without asking it, so it is always cut again.
    on_disk = sample is None and all(one.path is not None for one in listing)
    quarantine = run.work / "quarantine.jsonl"

    def list_bad_rows() -> None:
        bad = (run.output / file["name"] for one in counts.markers for file in one["files"][1:])
        write_lines(quarantine, (path.read_bytes() for path in bad))

    def judge(rows: int, reasons: Counter[str], *, at_end: bool = False) -> None:
        try:
            blocks.check_error_rate(rows, reasons, config, quarantine=quarantine, at_end=at_end)
        except CorpusError:
            list_bad_rows()
            raise

    cut_up = [list(listing)] if sample else lanes(listing)
    all_lanes = [_Lane(n, inputs, (inputs[0].number, 0, 0)) for n, inputs in enumerate(cut_up)]
    counts = _Counts(all_lanes, judge)
    sizes = sum(one.size or 0 for one in listing) if on_disk else 0
    if tasks.count is None:
        # Of other files nobody knows how much of them is text.
        plain = [one.size or 0 for one in listing if one.kind == "text"]
        run.check_disk("chunk", sum(size for size in plain if size <= settings.max_document_bytes))
    total, unit = (sizes, "B") if sizes else (None, "doc")
    need, spare = needs(settings)["chunk"], int(job.threads > 1)
    with job.stage("chunk", need, total=total, unit=unit, spare=spare) as pool:
        stage = _Stage(job, tasks, config, pool.watch, tokenizer.counter() if by_tokens else None)

        def markers() -> Iterator[tuple[Task, Marker]]:
            if sample is not None:
                yield from pool.in_order(stage.cut, blocks_of(all_lanes[0], sample))
                return
            advance = partial(stage.advance, on_disk)
            for in_memory, group in itertools.groupby(all_lanes, key=lambda lane: lane.in_memory):
                if in_memory or pool.threads == 1:
                    # What is given as an object is asked by the thread that gave it.
                    work = (work for lane in group for work in iter(partial(advance, lane), None))
                    yield from pool.in_order(lambda work: work(), work)
                else:
                    yield from pool.side_by_side(advance, group)

        for task, marker in markers():
            done = marker["file_bytes" if sizes else "documents"]
            # What of a compressed file is read again to find a block is counted once.
            pool.watch.add(min(done, sizes - pool.watch.done) if sizes else done)
            counts.add(task, marker)
            job.check_needed()
        counts.settle()
        digest = tasks.finish(counts.tasks)
        list_bad_rows()
    judge(counts.rows, counts.reasons, at_end=True)
    totals, reasons = counts.totals, counts.reasons
    job.report(
        "corpus",
        inputs=len(listing),
        documents=totals["documents"],
        text_bytes=totals["text_bytes"],
        quarantined=reasons.total(),
        quarantined_by_reason=dict(sorted(reasons.items())),
        chunks=totals["chunks"],
    )
    if totals["chunks"] == 0:
        told = "".join(f", {reason}: {count}" for reason, count in sorted(reasons.items()))
        where = f"; see {quarantine}" if reasons and sample is None else ""
        raise CorpusError(
            f"the corpus has no usable text: {totals['documents']} documents, {reasons.total()} "
            f"rows that cannot be used{told}{where}"
        )
    job.digests["chunks"] = digest
    return _nextlong.ChunkStore(
        [run.output / one["files"][0]["name"] for one in counts.markers if one["chunks"]]
    )


def blocks_of(lane: _Lane, found: Iterable[blocks.Block]) -> Iterator[tuple[Task, blocks.Block]]:
    """The blocks of a lane with their numbers."""
    for block in found:
        lane.begun += 1
        yield (lane.number, lane.begun - 1), block
    lane.whole = True


class _Stage:
    """What one thread at a time does with a lane, and any thread with a block."""

    def __init__(
        self,
        job: Job,
        tasks: Tasks,
        config: blocks.CorpusConfig,
        watch: _nextlong.Watch,
        counter: _nextlong.Tokenizer | Callable[[str], int] | None,
    ) -> None:
        self.job, self.tasks, self.config = job, tasks, config
        self.watch, self.counter = watch, counter

    def advance(self, kept: bool, lane: _Lane) -> Callable[[], tuple[Task, Marker]] | None:
        """Reads the next block of a lane; what is `kept` of an earlier run is passed."""
        task = (lane.number, lane.begun)
        if not lane.is_read:
            marker = self.tasks.done(task) if kept else None
            if marker is not None:
                lane.begun += 1
                lane.place, lane.reading = tuple(marker["next"]), None
                return lambda: (task, marker)
            if lane.reading is None:
                first, row, at = lane.place
                lane.reading = blocks.read_blocks(
                    [one for one in lane.inputs if one.number >= first],
                    self.config,
                    block_bytes=blocks.BLOCK_BYTES,
                    start=(row, at),
                    most_held=self.job.budget.line,
                    watch=self.watch,
                )
            block = next(lane.reading, None)
            if block is not None:
                lane.begun += 1
                lane.place = block.next
                return partial(self.cut, (task, block))
        lane.whole, lane.reading = True, None
        return None

    def cut(self, item: tuple[Task, blocks.Block]) -> tuple[Task, Marker]:
        """Cuts a block into chunks, in its file."""
        task, block = item
        settings, run = self.job.settings, self.job.run
        parsed = block.parse(self.watch)
        part = run.part("chunks", task, "arrow")
        documents, chunks, text_bytes = _nextlong.chunk_part(
            parsed,
            part,
            mode=settings.chunk_mode,
            size=settings.chunk_size,
            counter=self.counter,
            watch=self.watch,
        )
        paths = [part]
        if parsed.bad_count:
            paths.append(run.part("chunks", task, "quarantine.jsonl"))
            write_lines(paths[1], [parsed.quarantine()])
        return task, self.tasks.mark(
            task,
            paths,
            file_bytes=block.file_bytes,
            next=block.next,
            documents=documents,
            chunks=chunks,
            text_bytes=text_bytes,
            bad=parsed.bad_counts(),
        )
