"""Groups the chunks of a run by source or language, and reports whether each group's negatives are good.

In: the chunk store, its vectors and the sequences. Out: the groups, `summary["groups"]`, and warnings
that name the groups whose negatives are noise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextlong_rs import _nextlong
from nextlong_rs.embed.embedder import Embedder
from nextlong_rs.errors import RunError
from nextlong_rs.result.groups import warnings
from nextlong_rs.run.memory import MB, Need
from nextlong_rs.stage.context import Job

__all__ = ["detected_groups", "group", "report"]


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


def detected_groups(
    job: Job, store: _nextlong.ChunkStore
) -> tuple[list[str], NDArray[np.uint32]] | None:
    """The groups of texts that the LSA of the run tells apart: a name for each, and the number of its
    group for each chunk; None for other embedders."""
    if job.settings.embedder != "lsa":
        return None
    model = Embedder.load(job.run.work / "embed" / "model.safetensors")
    names = [name for name, _ in model.groups]
    parts = []
    for part in range(store.part_count):
        start, stop = store.part_chunks(part)
        path = job.run.groups_part(part)
        # `np.load` may raise anything on a damaged header.
        content = path.read_bytes()
        body = 10 + int.from_bytes(content[8:10], "little")
        if (
            not content.startswith(b"\x93NUMPY\x01\x00")
            or b"'descr': '<u2'" not in content[:body]
            or len(content) - body != 2 * (stop - start)
        ):
            raise RunError(
                f"{path}: damaged, expected {stop - start} uint16; delete it and run again"
            )
        numbers = np.frombuffer(content, "<u2", offset=body)
        if numbers.max(initial=0) >= len(names):
            raise RunError(f"{path}: damaged, group {numbers.max()} of {len(names)}")
        parts.append(numbers)
    return names, np.concatenate(parts).astype(np.uint32)


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
