"""Assembling: tokens a second from token ids by chunk to sequences with their spans, one thread.

The peers put the same ids of the same chunks together, and write down no spans: numpy by `concatenate`,
Python by `extend` of lists. A run checks that all give the same ids.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nextlong_rs import _nextlong
from nextlong_rs.settings import Settings

DOCUMENTS = 256
SEPARATOR = 198


@pytest.fixture(scope="module")
def made(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished pass: sequences whose pieces are known, their token ids mapped."""
    chosen = Settings(
        seq_len=131_072 if len(workshop.store) > 20_000 else 16_384,
        range_max=384,
        max_containment=None,
        max_reuse=None,
        bos=None,
        eos=None,
    )
    core = _nextlong.Settings(chosen.to_json())
    selector = _nextlong.Selector(core, bos=None, eos=None, separator=[SEPARATOR])
    values, offsets = workshop.rows
    selector.supply(np.arange(len(workshop.store), dtype=np.uint32), values, offsets)
    wave = _nextlong.Wave(workshop.store, core, workshop.queue[:DOCUMENTS])
    for _, rows, _ in wave.wanted():
        ids, scores = workshop.search.search(rows, 384)
        wave.fill(workshop.store, workshop.vectors, core, rows, ids, scores, _nextlong.Watch())
    assert not selector.step(wave, workshop.store)[1]
    selector.finish(wave)
    return selector


@pytest.fixture(scope="module")
def expected(
    workshop: Any, made: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[list[int]], list[Any]]:
    """The chunks of every sequence, and its ids as ours has them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("made") / "made.parquet"
    sequences = made.assemble(workshop.store, 0, len(made), _nextlong.Watch())
    _nextlong.write_parquet(path, sequences, "{}", None)
    table = parquet.read_table(path, columns=["input_ids", "span_doc_id", "span_chunk"])
    numbers = {name: number for number, name in enumerate(workshop.doc_ids)}
    first = np.flatnonzero(np.diff(workshop.store.documents(), prepend=-1)).tolist()
    chunks = [
        [first[numbers[name]] + chunk for name, chunk in zip(names, some, strict=True) if name]
        for names, some in zip(
            table["span_doc_id"].to_pylist(), table["span_chunk"].to_pylist(), strict=True
        )
    ]
    return chunks, [row.values.to_numpy() for row in table["input_ids"]]


def test_ours(benchmark: Any, report: Any, workshop: Any, made: Any, expected: Any) -> None:
    """A million tokens a call, as a run does: ids and spans."""

    def assemble() -> int:
        step = max(1, (1 << 20) // len(expected[1][0]))
        starts = range(0, len(made), step)
        stops = [min(start + step, len(made)) for start in starts]
        watch = _nextlong.Watch()
        return sum(
            made.assemble(workshop.store, start, stop, watch).tokens
            for start, stop in zip(starts, stops, strict=True)
        )

    tokens = benchmark.pedantic(assemble, rounds=30, warmup_rounds=1)
    report("assemble", "nextlong_rs with spans", tokens, "tokens/s", target=1e9)


@pytest.mark.parametrize("who", ["numpy concatenate", "Python lists"])
def test_peer(benchmark: Any, report: Any, workshop: Any, expected: Any, who: str) -> None:
    """The ids only. A chunk that was cut is given whole and the end of the sequence cut off."""
    chunks, ids = expected
    values, offsets = workshop.rows
    rows = np.split(values.astype(np.int32), offsets[1:-1].astype(np.int64))
    separator = np.array([SEPARATOR], np.int32)
    lists = {row: rows[row].tolist() for some in chunks for row in some}
    length = len(ids[0])

    def by_numpy() -> list[Any]:
        out = []
        for some in chunks:
            pieces = [piece for row in some for piece in (rows[row], separator)]
            out.append(np.concatenate(pieces)[:length])
        return out

    def by_lists() -> list[Any]:
        out = []
        for some in chunks:
            flat: list[int] = []
            for row in some:
                flat.extend(lists[row])
                flat.append(SEPARATOR)
            out.append(flat[:length])
        return out

    assemble = by_numpy if who == "numpy concatenate" else by_lists
    sequences = benchmark.pedantic(assemble, rounds=30, warmup_rounds=1)
    # Which negative of the last meta-chunk is cut shows only in the ids after it.
    same = [
        int((np.asarray(a) != b).argmax()) or length for a, b in zip(sequences, ids, strict=True)
    ]
    assert np.median(same) > length // 2
    report("assemble", who, sum(map(len, sequences)), "tokens/s")
