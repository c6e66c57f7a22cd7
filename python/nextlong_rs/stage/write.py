"""Gives the output files their names: `part-*.parquet`.

In: files that were written while their sequences were decided. Out: the same, finished.
"""

from __future__ import annotations

import itertools
from typing import Any

from nextlong_rs.run.tasks import fingerprint
from nextlong_rs.stage.context import Job
from nextlong_rs.stage.needs import needs
from nextlong_rs.stage.parts import Parts

__all__ = ["write"]


def write(
    job: Job,
    parts: Parts,
    count: int,
    metadata: str,
) -> list[dict[str, Any]]:
    """Writes what is left of the output files, `part-*.parquet`, and gives them their names."""
    settings, run, rows = job.settings, job.run, parts.rows
    parts.begin(count)
    tasks = run.tasks(
        "write",
        **{"sequences hash": job.digests["sequences"], "settings hash": fingerprint(metadata)},
    )
    # Two ids take a byte at the least, and what was written ahead is there already.
    ahead = parts.bytes_on_disk
    known = sum(path.stat().st_size for path in run.output.glob("part-*.parquet"))
    run.check_disk("write", count * settings.seq_len // 2 - ahead - known)
    with job.stage("write", needs(settings)["write"], total=count, unit="seq") as pool:

        def one(item: tuple[int, int]) -> dict[str, Any]:
            number, start = item
            stop = min(start + rows, count)
            path = run.output_part(number)
            marker = tasks.done(number)
            if marker is None:
                ready = parts.finish(number, stop, pool.watch)
                ready.path.replace(path)
                marker = tasks.mark(
                    number, [path], rows=ready.rows, tokens=ready.tokens, sha256=ready.sha256
                )
            else:
                pool.watch.add(stop - start)
                parts.discard(number)
            return {
                "name": path.name,
                "rows": marker["rows"],
                "tokens": marker["tokens"],
                "bytes": marker["files"][0]["bytes"],
                "sha256": marker["sha256"],
            }

        starts = zip(itertools.count(), range(0, count, rows))
        files = list(pool.in_order(one, starts))
        tasks.finish(len(files))
    names = {file["name"] for file in files}
    for stray in run.output.glob("part-*.parquet"):
        if stray.name not in names:
            stray.unlink()
    job.report(
        "sequences",
        tokens=sum(file["tokens"] for file in files),
        files=len(files),
        output_bytes=sum(file["bytes"] for file in files),
    )
    return files
