"""Explains the provenance of one sequence.

In: one row of the Parquet files, and the chunk store of the run if it still exists. Out: its chunks
grouped under their meta-chunks, with similarity, source and the beginning of the text.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from nextlong_rs.run.files import by_number

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ["ExplainedSpan", "Explanation", "explain", "stored_chunks"]

META_CHUNK, NEGATIVE = 0, 1
SNIPPET_CHARACTERS = 60
COLUMNS = ("", "document", "chunk", "characters", "tokens", "similarity", "source", "text")
NUMERIC = ("chunk", "characters", "tokens", "similarity")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedSpan:
    """One chunk of a sequence.

    Attributes:
        role: 0 for a meta-chunk, 1 for a hard negative.
        meta: Which meta-chunk of the sequence it belongs to, from 0.
        doc_id: Its document.
        chunk: Its number in the document, from 0.
        char_start: The first character of the document that it holds.
        char_end: The character after the last.
        token_start: Its first token in the sequence.
        tokens: How many tokens it has there.
        similarity: To its meta-chunk, cosine; None for a meta-chunk.
        source: ``file:row`` (rows from 1), where the run's chunks and inputs are known.
        text: The text, where the run's chunks are known.
    """

    role: int
    meta: int
    doc_id: str
    chunk: int
    char_start: int
    char_end: int
    token_start: int
    tokens: int
    similarity: float | None
    source: str | None
    text: str | None

    def cells(self) -> dict[str, str]:
        """Give the line of the table."""
        text = " ".join((self.text or "").split())
        return {
            "": f"meta-chunk {self.meta}" if self.role == META_CHUNK else "  negative",
            "document": self.doc_id,
            "chunk": str(self.chunk),
            "characters": f"{self.char_end - self.char_start:,}",
            "tokens": f"{self.tokens:,}",
            "similarity": "" if self.similarity is None else f"{self.similarity:.3f}",
            "source": self.source or "",
            "text": text
            if len(text) <= SNIPPET_CHARACTERS
            else text[: SNIPPET_CHARACTERS - 1] + "…",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Who is who in one sequence; ``print`` it.

    Attributes:
        sequence_id: The number of the sequence in its run.
        strategy: What filled it.
        meta_doc_id: The document it stretches.
        length: Its tokens.
        spans: Its chunks, in the order of the sequence; separators are left out.
    """

    sequence_id: int
    strategy: str
    meta_doc_id: str
    length: int
    spans: tuple[ExplainedSpan, ...]

    def __str__(self) -> str:
        """Draw the table: each meta-chunk, then its negatives in the order of the sequence."""
        grouped = sorted(self.spans, key=lambda span: (span.meta, span.role))
        lines = [span.cells() for span in grouped]
        shown = [name for name in COLUMNS if name == "" or any(line[name] for line in lines)]
        widths = {name: max([len(name), *(len(line[name]) for line in lines)]) for name in shown}

        def drawn(line: Mapping[str, str]) -> str:
            cells = (
                line[name].rjust(widths[name])
                if name in NUMERIC
                else line[name].ljust(widths[name])
                for name in shown
            )
            return "  ".join(cells).rstrip()

        blocks = []
        for _, group in groupby(zip(grouped, lines, strict=True), key=lambda pair: pair[0].meta):
            blocks.append("\n".join(drawn(line) for _, line in group))
        metas = sum(span.role == META_CHUNK for span in self.spans)
        title = (
            f"sequence {self.sequence_id} ({self.strategy}): {self.length:,} tokens, "
            f"document {self.meta_doc_id}, {metas} meta-chunks, "
            f"{len(self.spans) - metas} negatives"
        )
        return "\n\n".join(["\n".join([title, drawn({name: name for name in shown})]), *blocks])


def explain(
    row: Mapping[str, Any],
    chunks: Sequence[Mapping[str, Any] | None] = (),
    inputs: Sequence[Any] = (),
) -> Explanation:
    """Explain one row of the Parquet files.

    Args:
        row: The row as a mapping from column to value.
        chunks: The stored chunks of its meta-chunks and negatives in their order, as
            `stored_chunks` finds them; none leaves source and text out.
        inputs: The run's inputs by number: names, or mappings with a ``"name"``.

    Returns:
        The explanation.
    """
    starts = row["span_token_start"]
    ends = [*starts[1:], row["length"]]
    wanted = [
        number for number, role in enumerate(row["span_role"]) if role in (META_CHUNK, NEGATIVE)
    ]
    stored = list(chunks) if len(chunks) == len(wanted) else [None] * len(wanted)

    def span(number: int, found: Mapping[str, Any] | None) -> ExplainedSpan:
        doc_id, chunk = row["span_doc_id"][number], row["span_chunk"][number]
        # The files may be of another run than the chunks that lie beside them.
        known = found if found and (found["doc_id"], found["chunk"]) == (doc_id, chunk) else None
        char_start, char_end = row["span_char_start"][number], row["span_char_end"][number]
        score = row["span_score"][number]
        return ExplainedSpan(
            role=row["span_role"][number],
            meta=row["span_meta"][number],
            doc_id=doc_id,
            chunk=chunk,
            char_start=char_start,
            char_end=char_end,
            token_start=starts[number],
            tokens=ends[number] - starts[number],
            similarity=None if score is None or math.isnan(score) else score,
            source=_source(known, inputs) if known else None,
            text=_between(known, char_start, char_end) if known else None,
        )

    return Explanation(
        sequence_id=row["sequence_id"],
        strategy=row["strategy"],
        meta_doc_id=row["meta_doc_id"],
        length=row["length"],
        spans=tuple(span(*pair) for pair in zip(wanted, stored, strict=True)),
    )


def stored_chunks(work: Path, sequence: int) -> list[Mapping[str, Any] | None]:
    """Find the chunks that a sequence is made of in a run's `work` folder.

    Args:
        work: The folder; nothing is found where its `select` or `chunks` are gone.
        sequence: The number of the sequence in the run.

    Returns:
        A row of the chunk store for each meta-chunk and negative, in the order of the sequence.
    """
    numbers = _chunk_numbers(work, sequence)
    wanted = sorted(set(numbers))
    found: dict[int, Mapping[str, Any]] = {}
    start = 0
    for part in by_number(work.glob("chunks/part-*.arrow")):
        with _table(part) as table:
            stop = start + len(table)
            for number in wanted[bisect_left(wanted, start) : bisect_left(wanted, stop)]:
                row = table.slice(number - start, 1)
                # Offsets of a damaged file would be followed out of the map.
                row.validate(full=True)
                found[number] = row.to_pylist()[0]
        start = stop
    return [found.get(number) for number in numbers]


def _chunk_numbers(work: Path, sequence: int) -> list[int]:
    """The corpus-wide numbers of a sequence's chunks, from what the mining stage kept."""
    for part in by_number(work.glob("select/part-*.arrow")):
        with _table(part) as table:
            table.validate(full=True)
            numbers = table["sequence"].to_numpy()
            count = int(numbers[-1]) + 1 if len(numbers) else 0
            if sequence < count:
                chunks = table["chunk"].to_numpy()[numbers == sequence]
                return [int(chunk) for chunk in chunks]
            sequence -= count
    return []


@contextmanager
def _table(path: Path) -> Iterator[pa.Table]:
    # The caller read the row with pyarrow: it is there.
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        yield pa.ipc.open_file(file).read_all()


def _source(chunk: Mapping[str, Any], inputs: Sequence[Any]) -> str | None:
    if not 0 <= chunk["input"] < len(inputs):
        return None
    given = inputs[chunk["input"]]
    name = given.get("name") if isinstance(given, Mapping) else given
    return f"{name}:{chunk['row'] + 1}" if name else None


def _between(chunk: Mapping[str, Any], char_start: int, char_end: int) -> str:
    text: str = chunk["text"]
    return text[char_start - chunk["char_start"] : char_end - chunk["char_start"]]
