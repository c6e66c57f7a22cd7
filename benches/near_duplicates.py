"""Near-duplicates in finished sequences, counted with plain Python sets.

    python benches/near_duplicates.py [OUTPUT]

OUTPUT is the folder of a finished run over the bench corpus. Without it, the script makes 200
sequences of 65,536 tokens with the default settings. Nothing here uses the n-gram code of the core:
words come from a regular expression, n-grams are tuples. A character of a script without spaces is
a word.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nextlong_rs as nl

SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
WORD = re.compile(f"[{SPACELESS}]|[^\\W_{SPACELESS}]+")

META = 0
"""`span_role` of a meta-chunk."""

Grams = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Piece:
    """A chunk, or the part of it, that stands in a sequence."""

    text: str
    is_meta: bool


def grams(text: str, n: int) -> Grams:
    """The distinct n-grams of the words of a text."""
    words = WORD.findall(text.lower())
    return frozenset(zip(*(words[start:] for start in range(n)), strict=False))


def near_duplicates(negatives: list[Grams], limit: float) -> int:
    """How many share more than `limit` of the n-grams of the smaller with another negative."""
    holders = collections.defaultdict(list)
    for number, one in enumerate(negatives):
        for gram in one:
            holders[gram].append(number)
    shared: collections.Counter[tuple[int, int]] = collections.Counter()
    for numbers in holders.values():
        for place, first in enumerate(numbers):
            for second in numbers[place + 1 :]:
                shared[first, second] += 1
    found = set()
    for (first, second), count in shared.items():
        if count > limit * min(len(negatives[first]), len(negatives[second])):
            found |= {first, second}
    return len(found)


def covered(pieces: list[tuple[Grams, bool]], limit: float, *, own: bool) -> tuple[int, int]:
    """Later meta-chunks with more than `limit` of their n-grams before them, and all later ones.

    `own` counts what stands in earlier meta-chunks too, which is how the document was written.
    """
    before: set[tuple[str, ...]] = set()
    seen = over = later = 0
    for one, is_meta in pieces:
        if is_meta and seen:
            later += 1
            over += len(one & before) > limit * len(one)
        seen += is_meta
        if own or not is_meta:
            before |= one
    return over, later


def sequences(output: Path, texts: dict[str, str]) -> Iterator[list[Piece]]:
    """The chunks of every sequence of a run, in order."""
    import pyarrow.parquet as pq

    columns = ["span_doc_id", "span_char_start", "span_char_end", "span_role"]
    for path in sorted(output.glob("part-*.parquet")):
        for row in pq.read_table(path, columns=columns).to_pylist():
            spans = zip(*(row[name] for name in columns), strict=True)
            yield [
                Piece(texts[document][start:end], role == META)
                for document, start, end, role in spans
                if document is not None
            ]


def report(output: Path, inputs: Any) -> dict[str, float]:
    """Prints and returns the figures of a run."""
    texts = {document["id"]: document["text"] for document in inputs.documents}
    summary = json.loads((output / "manifest.json").read_text())["summary"]
    negatives = pairs = later = by_all = by_negatives = rows = 0
    for pieces in sequences(output, texts):
        rows += 1
        fives = [grams(piece.text, 5) for piece in pieces if not piece.is_meta]
        negatives += len(fives)
        pairs += near_duplicates(fives, 0.5)
        longer = [(grams(piece.text, 13), piece.is_meta) for piece in pieces]
        over, count = covered(longer, 0.3, own=True)
        later, by_all = later + count, by_all + over
        by_negatives += covered(longer, 0.3, own=False)[0]
    figures = {
        "sequences": rows,
        "negatives": negatives,
        "near-duplicates of another negative, 5-grams > .5 (%)": 100 * pairs / max(negatives, 1),
        "later meta-chunks": later,
        "with 13-grams > .3 in what precedes (%)": 100 * by_all / max(later, 1),
        "with 13-grams > .3 in preceding negatives (%)": 100 * by_negatives / max(later, 1),
        "mean similarity of negatives": summary["similarity"]["negatives"],
        "sequences dropped as short": summary["sequences"]["dropped_short"],
    }
    for name, value in figures.items():
        print(f"{name:60} {value:,.4g}")
    return figures


def main() -> int:
    """Measures a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--seq-len", type=int, default=65_536)
    parser.add_argument("--num-sequences", type=int, default=200)
    given = parser.parse_args()
    inputs = importlib.import_module("conftest").found()
    with tempfile.TemporaryDirectory() as folder:
        output = given.output or Path(folder) / "out"
        if given.output is None:
            nl.synthesize(
                inputs.corpus,
                output,
                tokenizer=inputs.tokenizer,
                seq_len=given.seq_len,
                num_sequences=given.num_sequences,
                progress=False,
            )
        report(output, inputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
