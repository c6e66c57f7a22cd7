"""Selects the negatives of every sequence and tokenizes what the sequences use.

In: the chunks, their vectors and a search engine that is ready. Out: `work/mine`, `work/select` and
`work/tokens`, cut into tasks whose borders are fixed by the plan, and output files under other names.
"""

from __future__ import annotations

import json
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.engine.pool import Pool
from nextlong_rs.index.search import Search
from nextlong_rs.run.tasks import fingerprint
from nextlong_rs.stage.chunk import CHUNK_SETTINGS
from nextlong_rs.stage.context import Job, rounded
from nextlong_rs.stage.fit import EMBED_SETTINGS
from nextlong_rs.stage.needs import gram_bytes, needs
from nextlong_rs.stage.parts import Parts
from nextlong_rs.stage.recall import UsedLists, used_warning
from nextlong_rs.stage.waves import Waves, search_pieces
from nextlong_rs.tokenize.special import SpecialIds
from nextlong_rs.tokenize.tokenizer import Tokenizer

__all__ = ["mine"]


def mine(
    job: Job,
    store: _nextlong.ChunkStore,
    vectors: _nextlong.Vectors,
    search: Search,
    queue: NDArray[np.uint32],
    tokenizer: Tokenizer,
    special: SpecialIds,
    separator: NDArray[np.uint32],
    metadata: str,
    groups: _nextlong.Groups | None = None,
) -> tuple[_nextlong.Selector, Parts]:
    """Finds and assigns the negatives; tokenizes what the sequences use, each chunk once.

    Waves of documents are searched and filtered on the pool's threads, ahead of one pass in the
    order of the documents that decides who takes what (`work/mine`, `work/tokens`). The output files
    are written meanwhile, as far as their sequences are decided: `write` takes them.
    """
    settings, run = job.settings, job.run
    selector = _nextlong.Selector(
        job.core, bos=special.bos, eos=special.eos, separator=separator.tolist(), groups=groups
    )
    total = settings.num_sequences or len(queue)
    parts = Parts(run, store, selector, settings.seq_len, metadata)
    earlier = {*CHUNK_SETTINGS, *EMBED_SETTINGS} - {"seed"}
    tasks = run.tasks(
        "mine",
        **{name: value for name, value in settings.to_dict().items() if name not in earlier},
        **{f"{name} hash": job.digests[name] for name in ("chunks", "vectors", "search")},
        **{"tokenizer hash": tokenizer.hash, "documents hash": fingerprint(queue.tolist())},
        version=job.version,
        special=[special.bos, special.eos, separator.tolist()],
        # The markers hold counts by group.
        **({} if groups is None else {"groups hash": groups.digest()}),
    )

    def files(number: int) -> list[Path]:
        return [run.part(folder, number, "arrow") for folder in ("mine", "select", "tokens")]

    keep = job.budget.kept
    need = needs(settings, chunks=len(store), sequences=total, kept=keep)["mine"]
    with job.stage("mine", need, total=total, unit="seq") as pool:
        halt = _nextlong.Watch()
        grams = _nextlong.GramLists(job.core, gram_bytes(keep))
        lists = UsedLists(settings.seed, len(store))

        def found(piece: tuple[int, NDArray[np.int64], bool]) -> tuple[Any, ...]:
            k, rows, is_open = piece
            hidden = selector.hidden if is_open else None
            return rows, *search.search(rows, k, hidden=hidden, watch=halt)

        def fill(wave: _nextlong.Wave, side_by_side: Pool | None = None) -> None:
            while wanted := wave.wanted():
                pieces = search_pieces(wanted, side_by_side.threads if side_by_side else 1)
                results = (
                    side_by_side.in_order(found, pieces) if side_by_side else map(found, pieces)
                )
                for rows, ids, scores in results:
                    wave.fill(store, vectors, job.core, rows, ids, scores, halt)

        def opened(number: int, documents: NDArray[np.uint32]) -> _nextlong.Wave:
            wave = _nextlong.Wave(store, job.core, documents, grams)
            fill(wave)
            wave.write(files(number)[0])
            return wave

        def close(
            number: int, start: int, stop: int, counts: dict[str, Any], used: dict[str, Any]
        ) -> None:
            moved = files(number)
            selector.move_tokens(moved[2])
            selector.save(start, stop, moved[1])
            tasks.mark(number, moved, sequences=stop - start, counts=counts, lists=used)

        waves = Waves(queue, settings, opened, pool)
        closing: Future[None] | None = None

        def sift(rest: NDArray[np.uint32]) -> NDArray[np.uint32] | None:
            return selector.sift(rest, store)

        while waves and not selector.finished and (marker := tasks.done(waves.closed)):
            _, pieces, ids = files(waves.closed)
            pool.watch.add(selector.restore(store, pieces, ids, json.dumps(marker["counts"])))
            lists.restore(marker["lists"])
            waves.close(sift)
        try:
            while waves and not selector.finished:
                number = waves.closed
                wave = waves.next(total - len(selector))
                while True:
                    chunks, deeper = selector.step(wave, store)
                    if deeper:
                        fill(wave, pool)
                    if len(chunks):
                        _tokenize(pool, selector, store, tokenizer, chunks)
                    if not deeper and not len(chunks):
                        break
                if closing is not None:
                    pool.wait(closing)
                before = len(selector)
                used = lists.add(*wave.used_lists(total - before))
                made = selector.finish(wave)
                texts, values, offsets = selector.cuts(store, before)
                selector.set_covered(before, tokenizer.characters_of(texts, (values, offsets)))
                counts = json.loads(selector.counts())
                # The files of a wave are written while the next one is at its turn.
                closing = pool.submit(partial(close, number, before, before + made, counts, used))
                pool.watch.add(made)
                waves.close(sift)
                parts.grow(pool, halt)
            waves.stop()
            if closing is not None:
                pool.wait(closing)
            sampled = len(
                _nextlong.recall_sample(
                    settings.seed, sum(lists.counts.values()), len(vectors), vectors.dim
                )
            )
            recall = lists.measure(search, sampled, pool)
        except BaseException:
            halt.cancel()
            raise
    # Waves that were searched ahead and not needed.
    needed = {files(number)[0] for number in range(waves.closed)}
    for path in (run.work / "mine").glob("part-*.arrow"):
        if path not in needed:
            path.unlink()
    job.digests["sequences"] = tasks.finish(waves.closed)
    job.report("retrieval", **recall)
    if warning := used_warning(recall, settings.min_recall):
        run.say(warning)
    job.report("similarity", **(rounded(selector.similarity(vectors)) or {}))
    tally = selector.tally()
    refused = tally.pop("refused")
    job.report("sequences", **{name: count for name, count in tally.items()})
    job.report("refused_neighbours", **refused)
    return selector, parts


def _tokenize(
    pool: Pool,
    selector: _nextlong.Selector,
    store: _nextlong.ChunkStore,
    tokenizer: Tokenizer,
    chunks: NDArray[np.uint32],
) -> None:
    pieces = np.array_split(chunks, max(1, min(pool.threads * 2, len(chunks) // 16)))
    if not tokenizer.threads_allowed:
        results = [tokenizer.encode_chunks(store, piece, None) for piece in pieces]
    else:
        results = pool.map(lambda piece: tokenizer.encode_chunks(store, piece, None), pieces)
    for piece, (values, offsets) in zip(pieces, results, strict=True):
        selector.supply(np.ascontiguousarray(piece), values, offsets)
