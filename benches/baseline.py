"""The pipeline that one would write in Python with today's libraries: the peer of `synthesize`.

json and split for the chunks, scikit-learn for an LSA, faiss HNSW for the neighbours, `tokenizers`
for the ids, lists for the sequences. All cores where a library uses them by itself.

    python benches/baseline.py CORPUS.jsonl.zst TOKENIZER.json --seq-len 131072 --num-sequences 100
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from pathlib import Path
from typing import Any

__all__ = ["baseline", "paper_chunks"]


def paper_chunks(text: str, size: int = 2048) -> list[str]:
    """The authors' chunker, transcribed: whole lines grouped up to `size` characters."""
    chunks: list[str] = []
    group: list[str] = []
    length = 0
    for line in text.split("\n"):
        if length + len(line) > size:
            if length != 0:
                chunks.append("\n".join(group))
            group, length = [line], len(line)
        else:
            group.append(line)
            length += len(line)
    if group:
        chunks.append("\n".join(group))
    return chunks


def read(path: str | Path) -> list[tuple[str, str]]:
    """(id, text) of every line of a JSONL.zst file."""
    import zstandard

    with Path(path).open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        return [(row["id"], row["text"]) for row in map(json.loads, lines)]


def baseline(
    corpus: str | Path,
    tokenizer: str | Path,
    *,
    seq_len: int,
    num_sequences: int,
    seed: int = 0,
    dim: int = 256,
    encode: str = "encode_batch_fast",
) -> tuple[list[list[int]], dict[str, float]]:
    """The sequences, and the seconds of each stage."""
    import faiss
    import numpy as np
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from tokenizers import Tokenizer

    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[stage] = now - clock
        clock = now

    documents = read(corpus)
    lap("read")
    chunks: list[str] = []
    owner: list[int] = []
    for number, (_, text) in enumerate(documents):
        for piece in paper_chunks(text):
            chunks.append(piece)
            owner.append(number)
    lap("chunk")
    rng = random.Random(seed)
    sample = rng.sample(range(len(chunks)), min(50_000, len(chunks)))
    weights = TfidfVectorizer(max_features=1 << 16, sublinear_tf=True, token_pattern=r"\w+")
    weights.fit(chunks[row] for row in sample)
    matrix = weights.transform(chunks)
    svd = TruncatedSVD(dim, n_iter=2, random_state=seed).fit(matrix[sample])
    vectors = normalize(svd.transform(matrix)).astype(np.float32)
    lap("embed")
    index = faiss.IndexHNSWFlat(dim, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(vectors)
    lap("index")

    model = Tokenizer.from_file(str(tokenizer))
    model.no_truncation()
    model.no_padding()
    first: dict[int, int] = {}
    count: dict[int, int] = {}
    for row, document in enumerate(owner):
        first.setdefault(document, row)
        count[document] = count.get(document, 0) + 1
    order = [document for document in count if count[document] >= 2]
    rng.shuffle(order)
    sequences: list[list[int]] = []
    cache: dict[int, list[int]] = {}
    encode_batch: Any = getattr(model, encode)
    for document in order:
        if len(sequences) == num_sequences:
            break
        own = range(first[document], first[document] + count[document])
        characters = sum(len(chunks[row]) for row in own)
        k = int((seq_len * 4 * 1.5 - characters) / (len(own) * 2048)) + 1
        if k < 1:
            continue
        index.hnsw.efSearch = max(64, k * 2)
        _, neighbours = index.search(vectors[own.start : own.stop], k * 2 + len(own))
        used: set[int] = set()
        rows: list[int] = []
        for row, found in zip(own, neighbours, strict=True):
            rows.append(row)
            taken = 0
            for candidate in found.tolist():
                if taken == k:
                    break
                if candidate < 0 or owner[candidate] == document or candidate in used:
                    continue
                used.add(candidate)
                rows.append(candidate)
                taken += 1
        missing = [row for row in rows if row not in cache]
        encoded = encode_batch([chunks[row] for row in missing], add_special_tokens=False)
        cache.update((row, one.ids) for row, one in zip(missing, encoded, strict=True))
        ids: list[int] = []
        for row in rows:
            ids.extend(cache[row])
            if len(ids) >= seq_len:
                break
        if len(ids) >= seq_len:
            sequences.append(ids[:seq_len])
    lap("mine, tokenize, assemble")
    return sequences, seconds


def main() -> None:
    """Runs the baseline and prints its seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("corpus")
    parser.add_argument("tokenizer")
    parser.add_argument("--seq-len", type=int, default=131_072)
    parser.add_argument("--num-sequences", type=int, default=100)
    given = parser.parse_args()
    sequences, seconds = baseline(
        given.corpus, given.tokenizer, seq_len=given.seq_len, num_sequences=given.num_sequences
    )
    for stage, taken in seconds.items():
        print(f"{stage:<26}{taken:>9.2f} s")
    print(f"{'total':<26}{sum(seconds.values()):>9.2f} s, {len(sequences)} sequences")


if __name__ == "__main__":
    main()
