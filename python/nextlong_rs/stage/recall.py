"""Recall of the searches of a run, measured on the neighbour lists that its sequences use.

In: which meta-chunks were searched to which depth, batch by batch. Out: recall by depth and over all
lists, and a warning if it is below `min_recall`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong

if TYPE_CHECKING:
    from nextlong_rs.engine.pool import Pool
    from nextlong_rs.index.search import Search

__all__ = ["UsedLists", "used_warning"]

_SAMPLED = 256
"""Lists of one depth that are remembered, at most."""
_FEW = 30
"""Lists of a depth from which on it is warned of."""


class UsedLists:
    """The neighbour lists that sequences are made of: counted by depth, and a seeded sample of each.

    Neither depends on the batches in which they come.
    """

    def __init__(self, seed: int, chunks: int) -> None:
        """Start without lists, for a corpus of `chunks` chunks."""
        self._seed = seed
        self._chunks = chunks
        self.counts: dict[int, int] = {}
        self._samples: dict[int, NDArray[np.uint32]] = {}

    def add(
        self, chunks: NDArray[np.uint32], depths: NDArray[np.uint32]
    ) -> dict[str, dict[str, Any]]:
        """Add the lists of a batch; returns what `restore` takes."""
        facts = {}
        for depth in np.unique(depths).tolist():
            rows = chunks[depths == depth]
            facts[str(depth)] = {"lists": len(rows), "sample": self._first(rows).tolist()}
        self.restore(facts)
        return facts

    def restore(self, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Add the lists of a batch by what `add` returned for it."""
        for name, fact in facts.items():
            depth = int(name)
            rows = np.array(fact["sample"], dtype=np.int64)
            rows = rows[(rows >= 0) & (rows < self._chunks)].astype(np.uint32)
            known = self._samples.get(depth, rows[:0])
            self._samples[depth] = self._first(np.concatenate([known, rows]))
            self.counts[depth] = self.counts.get(depth, 0) + fact["lists"]

    def _first(self, rows: NDArray[np.uint32]) -> NDArray[np.uint32]:
        keys = _nextlong.sample_keys(self._seed, rows)
        return rows[np.argsort(keys, kind="stable")[:_SAMPLED]]

    def sample(self, size: int) -> dict[int, NDArray[np.int64]]:
        """Draw about `size` lists, the same number of each depth where it has enough."""
        found: dict[int, NDArray[np.int64]] = {}
        left = size
        by_size = sorted(self._samples, key=lambda depth: (len(self._samples[depth]), depth))
        for number, depth in enumerate(by_size):
            share = -(-left // (len(by_size) - number))
            found[depth] = np.sort(self._samples[depth][: max(share, 1)].astype(np.int64))
            left = max(left - len(found[depth]), 0)
        return dict(sorted(found.items()))

    def measure(self, search: Search, size: int, pool: Pool) -> dict[str, Any]:
        """Recall by depth and over all lists, on a sample of about `size` of them."""
        by_depth: dict[str, dict[str, Any]] = {}
        hits, errors, total = 0.0, 0.0, sum(self.counts.values())
        for depth, rows in self.sample(size).items():
            lists = self.counts[depth]
            recall, error = search.recall_of(rows, lists, depth, pool)
            by_depth[str(depth)] = {
                "lists": lists,
                "recall": round(recall, 4),
                "error": round(error, 4),
            }
            hits += lists * recall
            errors += (lists * error) ** 2
        if not total:
            return {"recall_by_depth": {}}
        return {
            "recall": round(hits / total, 4),
            "recall_error": round(errors**0.5 / total, 4),
            "recall_by_depth": by_depth,
        }


def used_warning(facts: Mapping[str, Any], min_recall: float) -> str | None:
    """What to do about lists whose measured recall is below `min_recall`; None if none is, as far
    as the sample can tell.
    """
    low = {
        int(depth): fact["recall"]
        for depth, fact in facts.get("recall_by_depth", {}).items()
        if fact["lists"] >= _FEW and fact["recall"] + 2 * fact["error"] < min_recall
    }
    whole = facts.get("recall")
    below = whole is not None and whole + 2 * facts["recall_error"] < min_recall
    if not low and not below:
        return None
    depths = ", ".join(f"{recall:.3f} at depth {depth}" for depth, recall in sorted(low.items()))
    return (
        f"the recall of the neighbour lists in use is {whole:.3f} over all lists"
        + (f", {depths}" if depths else "")
        + f", expected at least min_recall ({min_recall}); raise min_recall, or use index='exact'"
    )
