"""Mining: neighbours offered a second, filtered and assigned, beside the same rule in Python.

Both take the same real neighbours (exact search over the corpus, 384 for each meta-chunk of 64
documents), the same token counts and the same settings: same document, shared n-grams, no negative
twice in a sequence, `max_reuse`, round-robin, 131,072 tokens to the token. The
search is not in the figure, one thread on both sides. A run checks that both pick the same chunks.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.settings import Settings

DOCUMENTS = 64
DEPTH = 384
SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
WORD = re.compile(f"[{SPACELESS}]|[^\\W_{SPACELESS}]+")

Picks = list[tuple[int, list[int]]]


def settings(workshop: Any, max_containment: float | None) -> Settings:
    """The defaults, in sequences that the corpus can fill, with no search past `DEPTH`."""
    seq_len = 131_072 if len(workshop.store) > 20_000 else 16_384
    return Settings(
        seq_len=seq_len, range_max=DEPTH, max_containment=max_containment, bos=None, eos=None
    )


@pytest.fixture(scope="module")
def offered(workshop: Any) -> tuple[NDArray[np.uint32], list[Any]]:
    """The documents of the wave, and (meta-chunks, ids, scores) of every search."""
    documents = np.ascontiguousarray(workshop.queue[:DOCUMENTS])
    core = _nextlong.Settings(settings(workshop, None).to_json())
    searches = _nextlong.Wave(workshop.store, core, documents).wanted()
    rows = np.sort(np.concatenate([rows for _, rows, _ in searches]))
    return documents, [(rows, *workshop.search.search(rows, DEPTH))]


def selector(workshop: Any, core: Any) -> Any:
    """A pass that has the tokens of all chunks already."""
    values, offsets = workshop.rows
    made = _nextlong.Selector(core, bos=None, eos=None, separator=[198])
    made.supply(np.arange(len(workshop.store), dtype=np.uint32), values, offsets)
    return made


def mined(
    workshop: Any, core: Any, documents: Any, searches: list[Any], made: Any, lists: Any = None
) -> Any:
    """Ours: filters, then the assignment; with what earlier waves knew of the chunks' words."""
    wave = _nextlong.Wave(workshop.store, core, documents, lists)
    for rows, ids, scores in searches:
        wave.fill(workshop.store, workshop.vectors, core, rows, ids, scores, _nextlong.Watch())
    wanted, deeper = made.step(wave, workshop.store)
    assert not deeper
    assert len(wanted) == 0
    return wave


def picks_of(workshop: Any, made: Any, folder: Path) -> Picks:
    """(document, chunks in their order) of every sequence made, numbered through the corpus."""
    parquet = pytest.importorskip("pyarrow.parquet")
    sequences = made.assemble(workshop.store, 0, len(made), _nextlong.Watch())
    _nextlong.write_parquet(folder / "made.parquet", sequences, "{}", None)
    columns = ["meta_doc_id", "span_doc_id", "span_chunk"]
    numbers = {name: number for number, name in enumerate(workshop.doc_ids)}
    first = np.flatnonzero(np.diff(workshop.store.documents(), prepend=-1)).tolist()
    picks = []
    for row in parquet.read_table(folder / "made.parquet", columns=columns).to_pylist():
        spans = zip(row["span_doc_id"], row["span_chunk"], strict=True)
        chunks = [first[numbers[name]] + chunk for name, chunk in spans if name is not None]
        picks.append((numbers[row["meta_doc_id"]], chunks))
    return picks


class Python:
    """The same rule, transcribed: numpy where a rule is about numbers, sets and lists elsewhere."""

    def __init__(self, workshop: Any, chosen: Settings) -> None:
        store = workshop.store
        self.settings = chosen
        self.texts: list[str] = store.texts(0, len(store))
        self.tokens = np.diff(workshop.rows[1].astype(np.int64)).tolist()
        self.document = store.documents()
        starts = np.flatnonzero(np.diff(self.document, prepend=-1))
        self.starts = np.append(starts, len(store))
        self.uses: dict[int, int] = {}
        self.grams_of = cache(lambda chunk: self.grams(self.texts[chunk]))

    def grams(self, text: str) -> set[tuple[str, ...]]:
        """The different n-grams of a text."""
        words = WORD.findall(text.lower())
        n = self.settings.containment_words
        return set(zip(*(words[start:] for start in range(n)), strict=False))

    def mine(self, documents: Any, searches: list[Any]) -> Picks:
        """(document, chunks in their order) of every sequence."""
        lists = {
            int(row): (found, scores)
            for rows, ids, all_scores in searches
            for row, found, scores in zip(rows, ids, all_scores, strict=True)
        }
        wave = [(int(document), self.allowed(int(document), lists)) for document in documents]
        return [
            (document, picked)
            for document, allowed in wave
            if (picked := self.fill(document, allowed)) is not None
        ]

    def allowed(self, document: int, lists: Any) -> list[list[int]]:
        """The neighbours of each meta-chunk that the rules about numbers allow."""
        own = self.own(document)
        out = []
        for row in own:
            ids, _ = lists[row]
            keep = ids >= 0
            keep &= (ids < own.start) | (ids >= own.stop)
            out.append(ids[keep].tolist())
        return out

    def own(self, document: int) -> range:
        """The chunks of a document."""
        return range(int(self.starts[document]), int(self.starts[document + 1]))

    def refuses(self, own: range, groups: list[list[int]], chunk: int) -> bool:
        """Whether too much of a chunk of the sequence would stand in the others with `chunk`."""
        most = self.settings.max_containment
        if most is None:
            return False
        if self.texts[chunk] in {self.texts[row] for row in own}:
            return True
        negatives = [chunk, *(one for group in groups for one in group)]
        counts = Counter(gram for one in negatives for gram in self.grams_of(one))
        metas = set().union(*(self.grams_of(row) for row in own))

        def over(one: int, shared: int) -> bool:
            return shared > most * len(self.grams_of(one))

        theirs = self.grams_of(chunk)
        touched = [
            one for one in negatives if one == chunk or not theirs.isdisjoint(self.grams_of(one))
        ]
        return any(
            over(one, sum(gram in metas or counts[gram] > 1 for gram in self.grams_of(one)))
            for one in touched
        ) or any(over(row, sum(gram in counts for gram in self.grams_of(row))) for row in own)

    def fill(self, document: int, allowed: list[list[int]]) -> list[int] | None:
        """Takes turns until the budget is full; None where the rules do not let it fill."""
        own = self.own(document)
        left = self.settings.seq_len - (len(own) - 1) - sum(self.tokens[row] for row in own)
        if left < 0:
            return None
        cursors = [0] * len(own)
        groups: list[list[int]] = [[] for _ in own]
        taken: set[str] = set()
        turn = idle = 0
        while left > 1:
            chunk = self.next_allowed(allowed[turn], cursors, turn, taken, own, groups)
            if chunk is None:
                idle += 1
                if idle > len(own):
                    for group in groups:
                        for one in group:
                            self.uses[one] -= 1
                    return None
            else:
                idle = 0
                groups[turn].append(chunk)
                left -= self.tokens[chunk] + 1
            turn = (turn + 1) % len(own)
        pieces = [one for row, group in zip(own, groups, strict=True) for one in (row, *group)]
        return self.cut(pieces, own)

    def next_allowed(
        self,
        chunks: list[int],
        cursors: list[int],
        turn: int,
        taken: set[str],
        own: range,
        groups: list[list[int]],
    ) -> int | None:
        """The next neighbour in turn that no other negative forbids."""
        while cursors[turn] < len(chunks):
            chunk = chunks[cursors[turn]]
            cursors[turn] += 1
            uses = self.uses.get(chunk, 0)
            most = self.settings.max_reuse
            if self.texts[chunk] in taken or (most is not None and uses >= most):
                continue
            if self.refuses(own, groups, chunk):
                continue
            self.uses[chunk] = uses + 1
            taken.add(self.texts[chunk])
            return chunk
        return None

    def cut(self, pieces: list[int], own: range) -> list[int]:
        """Drops the last negatives that pass the end; what is cut in part stays."""
        total = sum(self.tokens[one] + 1 for one in pieces) - 1
        over = total - self.settings.seq_len
        while over > 0:
            at = max(place for place, one in enumerate(pieces) if one not in own)
            if over < self.tokens[pieces[at]]:
                break
            over -= self.tokens[pieces[at]] + 1
            self.uses[pieces[at]] -= 1
            del pieces[at]
        return pieces


def test_known_chunks(benchmark: Any, report: Any, workshop: Any, offered: Any) -> None:
    """As `test_mine` with the n-gram check, where earlier waves came to the same chunks."""
    documents, searches = offered
    core = _nextlong.Settings(settings(workshop, 0.3).to_json())
    lists = _nextlong.GramLists(core, 1 << 26)
    benchmark.pedantic(
        mined,
        setup=lambda: (
            (workshop, core, documents, searches, selector(workshop, core), lists),
            {},
        ),
        rounds=4,
        warmup_rounds=1,
    )
    count = sum(ids.size for _, ids, _ in searches)
    report("mine", "nextlong_rs, chunks seen before", count, "candidates/s", ours=False)


@pytest.mark.parametrize(
    ("stage", "max_containment"),
    [
        ("mine without the n-gram check", None),
        ("mine", 0.3),
    ],
)
@pytest.mark.parametrize("who", ["nextlong_rs", "plain Python and numpy"])
def test_mine(
    benchmark: Any,
    report: Any,
    workshop: Any,
    offered: Any,
    tmp_path: Path,
    who: str,
    stage: str,
    max_containment: float | None,
) -> None:
    """Filters and assignment of 64 documents; the Python side must pick the same chunks."""
    documents, searches = offered
    count = sum(ids.size for _, ids, _ in searches)
    chosen = settings(workshop, max_containment)
    if who == "nextlong_rs":
        core = _nextlong.Settings(chosen.to_json())
        benchmark.pedantic(
            mined,
            setup=lambda: ((workshop, core, documents, searches, selector(workshop, core)), {}),
            rounds=3,
        )
        report(stage, who, count, "candidates/s", target=20e6)
        return
    begun: list[Picks] = []
    benchmark.pedantic(
        lambda peer: begun.append(peer.mine(documents, searches)),
        setup=lambda: ((Python(workshop, chosen),), {}),
        rounds=1,
    )
    report(stage, who, count, "candidates/s")
    made = selector(workshop, _nextlong.Settings(chosen.to_json()))
    wave = mined(workshop, _nextlong.Settings(chosen.to_json()), documents, searches, made)
    made.finish(wave, tmp_path / "tokens.arrow")
    ours = picks_of(workshop, made, tmp_path)
    assert [document for document, _ in ours] == [document for document, _ in begun[0]]
    pairs = [(set(a), set(b)) for (_, a), (_, b) in zip(ours, begun[0], strict=True)]
    agreed = sum(len(a & b) for a, b in pairs) / sum(len(a | b) for a, b in pairs)
    # Letters of some scripts are words to one side and marks to the other: 8-grams differ a little.
    assert agreed == 1 if max_containment is None else agreed > 0.98
    print(f"{len(ours)} sequences, {agreed:.4f} of the chunks are the same")
