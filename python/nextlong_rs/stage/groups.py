"""The report by group: whether the negatives of each source or language are better than chance.

In: the chunk store, its vectors and the sequences. Out: `summary["groups"]`, a table of the largest
groups, and warnings that name the groups whose negatives are noise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nextlong_rs import _nextlong
from nextlong_rs.run.memory import MB, Need

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nextlong_rs.synthesize import Job

__all__ = ["group", "report", "table", "warnings"]

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


def group(
    job: Job,
    store: _nextlong.ChunkStore,
    detected: tuple[Sequence[str], NDArray[np.uint32]] | None = None,
) -> _nextlong.Groups | None:
    """Group the chunks of a run.

    Args:
        job: The run.
        store: Its chunks.
        detected: Names of groups and the number of its group for each chunk, which are used where
            the settings have no `source_column`.

    Returns:
        The groups by source, the detected ones if they are more than one, or None.
    """
    if job.settings.source_column is not None:
        return _nextlong.Groups.by_source(store)
    if detected is None:
        return None
    names, numbers = detected
    groups = _nextlong.Groups(store, list(names), numbers)
    return groups if len(groups) > 1 else None


def report(
    job: Job,
    store: _nextlong.ChunkStore,
    vectors: _nextlong.Vectors,
    selector: _nextlong.Selector,
) -> None:
    """Add `groups` to the summary and warn about groups whose negatives are noise."""
    need = Need(each=8 * MB, shared=16 * MB)
    with job.stage("groups", need) as pool:
        found = pool.call(lambda: selector.group_report(store, vectors, pool.threads, pool.watch))
    rules = list(selector.tally()["refused"])
    reports: list[dict[str, Any]] = json.loads(found or "[]")
    job.summary["groups"] = [_rounded(one, rules) for one in reports]
    if [one["name"] for one in reports] == ["(none)"]:
        job.run.say(f"no document has a field {job.settings.source_column!r} (source_column)")
    for warning in warnings(reports):
        job.run.say(warning)


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


def _rounded(one: Mapping[str, Any], rules: Sequence[str]) -> dict[str, Any]:
    """A report of the core as the summary has it."""
    neighbours = sum(one["refused"]) + one["negatives"]
    own = one["same_document"]
    return {
        "name": one["name"],
        "chunks": one["chunks"],
        "documents": one["documents"],
        "documents_tried": one["tried"],
        "sequences": one["sequences"],
        "meta_chunks": one["meta_chunks"],
        "negatives": one["negatives"],
        "same_document": own
        and {
            "recall": round(own["recall"], 4),
            "by_chance": round(own["by_chance"], 4),
            "chunks": own["chunks"],
        },
        **{
            name: one[name] and round(one[name]["mean"], 4)
            for name in ("similarity", "random_similarity", "random_in_group")
        },
        "same_group_share": _share(one["same_group"], one["negatives"]),
        "neighbours": neighbours,
        "refused": {
            rule: _share(count, neighbours)
            for rule, count in zip(rules, one["refused"], strict=True)
            if count
        },
    }


def _share(count: int, total: int) -> float | None:
    return round(count / total, 4) if total else None


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
