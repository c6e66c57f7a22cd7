"""The message about a recall that is below the required one."""

from __future__ import annotations

__all__ = ["low_recall"]

_COPIES = 0.1
"""Share of copies in a sample of the vectors from which on a warning names them."""


def low_recall(
    engine: str, recall: float, k: int, min_recall: float, *, copies: float = 0.0
) -> str | None:
    """What to do about a recall below `min_recall` where no wider search finds more; None if it is
    reached.
    """
    if recall >= min_recall:
        return None
    cause = (
        f"; {copies:.0%} of a sample of the vectors are copies of others, which keeps the "
        "graph from leading to every vector: remove the copies, or scan all vectors "
        "(index='exact' of knn and synthesize)"
        if copies >= _COPIES
        else "; scan all vectors (index='exact' of knn and synthesize), or lower min_recall"
    )
    return (
        f"recall at k {k} is {recall:.3f} at the widest search of index={engine!r}, expected at "
        f"least min_recall ({min_recall})" + cause
    )
