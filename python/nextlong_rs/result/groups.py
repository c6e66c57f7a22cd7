"""The report by group in words: a table of the largest groups, and warnings.

In: facts about each group. Out: lines that show them, and lines that name the groups whose negatives
are noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["table", "warnings"]

_SHOWN = 12
"""Groups in the table."""
_NAMED = 8
"""Groups that a warning names."""
_NAME_WIDTH = 24
_LEAST_NEGATIVES = 100
_LEAST_META_CHUNKS = 5
"""Groups with fewer negatives or meta-chunks are not judged: two standard errors could be as large as
the difference in a good group, which is 0.2 or more in the groups of real corpora."""
_LEAST_DIFFERENCE = 0.02
"""Minimum difference of two mean similarities that counts, however small its standard error is."""


def warnings(reports: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Name the groups whose negatives are no better than random chunks.

    Two groups of pairs differ if their means do by at least 0.02 and two standard errors.

    Args:
        reports: The reports of the core, one for each group.

    Yields:
        A line for each kind of noise that was found.
    """
    unlike, blurred = [], []
    for one in reports:
        if one["negatives"] < _LEAST_NEGATIVES:
            continue
        name = _printable(one["name"])
        if _no_more(one["similarity"], one["random_similarity"]):
            unlike.append(_compared(name, one["similarity"], one["random_similarity"]))
        elif _no_more(one["similarity"], one["random_in_group"]):
            blurred.append(_compared(name, one["similarity"], one["random_in_group"]))
    if unlike:
        yield (
            "negatives are no more similar to their meta-chunks than random chunks in "
            f"{_listed(unlike)}; hint: use another embedder for them, or leave them out"
        )
    if blurred:
        yield (
            "negatives are no more similar to their meta-chunks than random chunks of the same group "
            f"in {_listed(blurred)}; hint: either the embedder does not distinguish the texts of "
            "such a group (use another one), or it has too few (give more documents)"
        )


def table(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Show the largest groups, a line each.

    Args:
        groups: What the summary of a run lists as `groups`.

    Yields:
        The lines.
    """
    columns = {
        "chunks": "chunks",
        "sequences": "sequences",
        "negatives": "negatives",
        "same document": "same_document",
        "similarity": "similarity",
        "random": "random_similarity",
        "random in group": "random_in_group",
        "same group": "same_group_share",
        "most refused": "refused",
    }
    rows = [["", *columns]]
    for one in groups[:_SHOWN]:
        name = _printable(str(one.get("name", "")))
        rows.append([name, *(_cell(one.get(key)) for key in columns.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        shown = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        yield "  ".join([name.ljust(widths[0]), *shown[:-1], cells[-1]]).rstrip()
    if len(groups) > _SHOWN:
        yield f"and {len(groups) - _SHOWN} smaller groups (manifest.json lists them)"


def _no_more(negatives: Mapping[str, Any] | None, random: Mapping[str, Any] | None) -> bool:
    """Whether enough negatives are no more similar than random chunks."""
    if negatives is None or random is None:
        return False
    if min(negatives["meta_chunks"], random["meta_chunks"]) < _LEAST_META_CHUNKS:
        return False
    error = math.hypot(negatives["error"], random["error"])
    difference: float = negatives["mean"] - random["mean"]
    return difference < max(_LEAST_DIFFERENCE, 2 * error)


def _compared(name: str, negatives: Mapping[str, Any], random: Mapping[str, Any]) -> str:
    return f"{name} ({negatives['mean']:.3f}, random {random['mean']:.3f})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more groups" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _printable(name: str) -> str:
    """A name of any characters in one line of limited width."""
    shown = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name
    )
    return shown if len(shown) <= _NAME_WIDTH else shown[: _NAME_WIDTH - 1] + "…"


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        if "recall" in value:
            return _cell(value["recall"])
        shares = [(share, rule) for rule, share in value.items() if isinstance(share, float)]
        share, rule = max(shares, default=(0.0, ""))
        return f"{rule.replace('_', ' ')} {share:.2f}" if rule else "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
