"""The pipeline that one would write in Python with today's libraries: the peer of `synthesize`.

json and split for the chunks, scikit-learn for an LSA of the quality that ours has (words hashed on
all cores, idf^1.5, two power iterations), faiss for the neighbours, `tokenizers` for the ids (0.2x or
the 1.0 release candidates, whichever is imported), lists for the sequences: the published rule, with
k by formula, the first meta-chunk choosing first, truncated or discarded. All cores wherever the
libraries can, queries and texts in large batches, every chunk tokenized once and only when needed.

    python benches/baseline.py CORPUS.jsonl.zst TOKENIZER.json --seq-len 131072 --num-sequences 100
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Made", "baseline", "paper_chunks", "recall", "same_document_recall"]

CHUNK_CHARS = 2048
BLOCK = 1024
"""Chunks that a process hashes at once."""

CHUNKS: list[str] = []
"""What the forked processes see without a copy."""


@dataclass
class Made:
    """What a run of the baseline made, and how long each stage took.

    Attributes:
        sequences: Token ids, `seq_len` each.
        seconds: Wall-clock seconds by stage.
        vectors: float32 `[chunks, dim]`, unit length.
        owner: The document number of each chunk.
        queries: The meta-chunks that were searched, with the ids found for them.
    """

    sequences: list[list[int]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    owner: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    queries: list[tuple[int, NDArray[np.int64]]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the seconds of a block to a stage."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def paper_chunks(text: str, size: int = CHUNK_CHARS) -> list[str]:
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


def read(path: str | Path) -> list[str]:
    """The text of every line of a JSONL.zst file."""
    import zstandard

    with Path(path).open("rb") as file:
        lines = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file), 1 << 20)
        return [json.loads(line)["text"] for line in lines]


def hashed(start: int) -> Any:
    """Counts of the hashed words of a block of `CHUNKS`."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=1 << 16,
        alternate_sign=False,
        norm=None,
        token_pattern=r"\w+",
        dtype=np.float32,
    )
    return vectorizer.transform(CHUNKS[start : start + BLOCK])


def embed(chunks: list[str], dim: int, seed: int, fit_chunks: int = 50_000) -> NDArray[np.float32]:
    """LSA vectors of all chunks, of unit length, fitted on a sample of them."""
    import scipy.sparse  # type: ignore[import-untyped]
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import normalize

    CHUNKS[:] = chunks
    starts = range(0, len(chunks), BLOCK)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork")) as processes:
        counts = scipy.sparse.vstack(list(processes.map(hashed, starts)), format="csr")
    sample = random.Random(seed).sample(range(len(chunks)), min(fit_chunks, len(chunks)))
    fitted = counts if len(sample) == len(chunks) else counts[sample]
    weights = TfidfTransformer(sublinear_tf=True).fit(fitted)
    weights.idf_ = (weights.idf_**1.5).astype(np.float32)
    matrix = weights.transform(counts)
    svd = TruncatedSVD(dim, n_iter=2, random_state=seed)
    svd.fit(matrix if fitted is counts else weights.transform(fitted))
    components = np.ascontiguousarray(svd.components_.T, dtype=np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        blocks = [slice(start, start + 4096) for start in range(0, len(chunks), 4096)]
        rows = threads.map(lambda block: matrix[block] @ components, blocks)
        vectors: NDArray[np.float32] = normalize(np.concatenate(list(rows)), copy=False)
    return vectors


def encoder(tokenizer: str | Path) -> Callable[[list[str]], list[list[int]]]:
    """Texts to ids on all cores, by the fastest call of the version that is imported."""
    from tokenizers import Tokenizer

    model: Any = Tokenizer.from_file(str(tokenizer))
    if hasattr(model, "encode_batch_fast"):
        model.no_truncation()
        model.no_padding()
        return lambda texts: [
            one.ids for one in model.encode_batch_fast(texts, add_special_tokens=False)
        ]
    return lambda texts: [
        one.ids
        for one in model.encode_batch(
            texts, add_special_tokens=False, padding=None, truncation=None
        )
    ]


def built(vectors: NDArray[np.float32], kind: str) -> Any:
    """A faiss index of all vectors: `hnsw`, or `flat`, the exhaustive one."""
    import faiss

    dim = vectors.shape[1]
    index: Any
    if kind == "flat":
        index = faiss.IndexFlatIP(dim)
    else:
        index = faiss.IndexHNSWFlat(dim, 16, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 100
    index.add(vectors)
    return index


def baseline(
    corpus: str | Path,
    tokenizer: str | Path,
    *,
    seq_len: int,
    num_sequences: int,
    seed: int = 0,
    dim: int = 256,
    kind: str = "hnsw",
) -> Made:
    """Runs the whole pipeline.

    Args:
        corpus: A JSONL.zst file with a `text` field.
        tokenizer: A `tokenizer.json`.
        seq_len: Tokens in a sequence.
        num_sequences: Sequences to make, fewer if the documents run out.
        seed: Which documents are tried first, and the sample that the LSA is fitted on.
        dim: Dimensions of the LSA.
        kind: `hnsw` or `flat`.

    Returns:
        The sequences and the seconds of each stage.
    """
    imported()
    made = Made()
    with made.stage("read"):
        documents = read(corpus)
    with made.stage("chunk"):
        pieces = [paper_chunks(text) for text in documents]
        chunks = [piece for some in pieces for piece in some]
        counts = np.array([len(some) for some in pieces])
        first = np.concatenate([[0], np.cumsum(counts)])
        made.owner = np.repeat(np.arange(len(pieces)), counts)
        lengths = [len(chunk) for chunk in chunks]
    with made.stage("embed"):
        made.vectors = embed(chunks, dim, seed)
    with made.stage("index"):
        index = built(made.vectors, kind)
    with made.stage("tokenize"):
        encode = encoder(tokenizer)

    order = np.flatnonzero(counts >= 2).tolist()
    random.Random(seed).shuffle(order)
    known: dict[int, list[int]] = {}
    while order and len(made.sequences) < num_sequences:
        wanted = num_sequences - len(made.sequences)
        block, order = order[: wanted + wanted // 8], order[wanted + wanted // 8 :]
        with made.stage("search"):
            found = search(made, index, block, first, lengths, seq_len)
        with made.stage("mine"):
            plans = [mine(made.owner, own, k, lists) for own, k, lists in found]
        with made.stage("tokenize"):
            tokenize(plans, chunks, lengths, known, encode, seq_len)
        with made.stage("assemble"):
            for rows in plans:
                ids: list[int] = []
                for row in rows:
                    ids.extend(known[row])
                    if len(ids) >= seq_len:
                        made.sequences.append(ids[:seq_len])
                        break
    del made.sequences[num_sequences:]
    return made


def imported() -> None:
    """Imports what the stages use, so that no stage is charged for it."""
    import faiss  # noqa: F401
    import scipy.sparse  # noqa: F401
    import sklearn.decomposition
    import sklearn.feature_extraction.text
    import sklearn.preprocessing  # noqa: F401
    import tokenizers  # noqa: F401
    import zstandard  # noqa: F401


def search(
    made: Made,
    index: Any,
    documents: list[int],
    first: NDArray[np.int64],
    lengths: list[int],
    seq_len: int,
) -> list[tuple[range, int, list[list[int]]]]:
    """(own chunks, k, neighbours of each) of the documents that are not too long."""
    depths: dict[int, list[tuple[int, range, int]]] = {}
    for place, document in enumerate(documents):
        own = range(int(first[document]), int(first[document + 1]))
        own_chars = sum(lengths[own.start : own.stop])
        k = -int(-(seq_len * 4 * 1.5 - own_chars) // (len(own) * CHUNK_CHARS))
        if k >= 1:
            depth = -(-(k * 2 + len(own)) // 64) * 64
            depths.setdefault(depth, []).append((place, own, k))
    found = []
    for depth, group in depths.items():
        if hasattr(index, "hnsw"):
            index.hnsw.efSearch = max(64, depth)
        rows = np.concatenate([np.arange(own.start, own.stop) for _, own, _ in group])
        _, ids = index.search(made.vectors[rows], depth)
        made.queries.extend(zip(rows.tolist(), ids, strict=True))
        at = 0
        for place, own, k in group:
            found.append((place, own, k, ids[at : at + len(own)].tolist()))
            at += len(own)
    found.sort()
    return [(own, k, lists) for _, own, k, lists in found]


def mine(owner: NDArray[np.int64], own: range, k: int, lists: list[list[int]]) -> list[int]:
    """Each meta-chunk with its k nearest chunks of other documents, none of them twice."""
    used = set(own)
    used.add(-1)
    rows: list[int] = []
    for row, candidates in zip(own, lists, strict=True):
        rows.append(row)
        taken = 0
        for candidate in candidates:
            if candidate not in used:
                used.add(candidate)
                rows.append(candidate)
                taken += 1
                if taken == k:
                    break
    return rows


def tokenize(
    plans: list[list[int]],
    chunks: list[str],
    lengths: list[int],
    known: dict[int, list[int]],
    encode: Callable[[list[str]], list[list[int]]],
    seq_len: int,
) -> None:
    """Fills `known` with the ids that the sequences need, in few large batches."""
    open_plans: list[tuple[list[int], int, int]] = [(rows, 0, 0) for rows in plans]
    while open_plans:
        reached = []
        missing: dict[int, None] = {}
        for rows, at, tokens in open_plans:
            chars, stop = 0, at
            while stop < len(rows) and chars < (seq_len - tokens) * 4:
                if rows[stop] not in known:
                    missing[rows[stop]] = None
                chars += lengths[rows[stop]]
                stop += 1
            reached.append((rows, at, stop, tokens))
        ids = encode([chunks[row] for row in missing])
        known.update(zip(missing, ids, strict=True))
        open_plans = []
        for rows, at, stop, tokens in reached:
            tokens += sum(len(known[row]) for row in rows[at:stop])
            if tokens < seq_len and stop < len(rows):
                open_plans.append((rows, stop, tokens))


def recall(made: Made, k: int = 100, sample: int = 256, seed: int = 0) -> float:
    """The share of the true k nearest that the searches found, on a sample of the queries."""
    if not made.queries:
        return float("nan")
    picked = random.Random(seed).sample(made.queries, min(sample, len(made.queries)))
    shares = []
    for row, ids in picked:
        scores = made.vectors @ made.vectors[row]
        depth = min(k, len(ids))
        best = set(np.argsort(-scores)[:depth].tolist())
        shares.append(len(best & set(ids[:depth].tolist())) / depth)
    return float(np.mean(shares))


def same_document_recall(
    vectors: NDArray[np.float32], owner: Iterable[int], *, k: int = 10, sample: int = 1000
) -> float:
    """How many of a chunk's k nearest are of its own document, of as many as there could be."""
    owner = np.asarray(owner)
    counts = np.bincount(owner)
    rows = np.flatnonzero(counts[owner] >= 2)
    rows = np.random.default_rng(0).choice(rows, min(sample, len(rows)), replace=False)
    scores = vectors[rows] @ vectors.T
    scores[np.arange(len(rows)), rows] = -np.inf
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    hits = (owner[best] == owner[rows][:, None]).sum(axis=1)
    return float(np.mean(hits / np.minimum(counts[owner[rows]] - 1, k)))


def peak_memory_bytes() -> int:
    """The most that was resident of this process; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main() -> None:
    """Runs the baseline and prints its seconds; `--json` for programs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("corpus")
    parser.add_argument("tokenizer")
    parser.add_argument("--seq-len", type=int, default=131_072)
    parser.add_argument("--num-sequences", type=int, default=100)
    parser.add_argument("--kind", choices=["hnsw", "flat"], default="hnsw")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = parser.parse_args()
    from importlib.metadata import version

    made = baseline(
        given.corpus,
        given.tokenizer,
        seq_len=given.seq_len,
        num_sequences=given.num_sequences,
        kind=given.kind,
    )
    total = sum(made.seconds.values())

    facts = {
        "seconds": made.seconds,
        "total": total,
        "sequences": len(made.sequences),
        "tokens": sum(map(len, made.sequences)),
        "peak_memory_bytes": peak_memory_bytes(),
        "chunks": len(made.owner),
        "recall": recall(made),
        "same_document_recall": same_document_recall(made.vectors, made.owner),
        "tokenizers": version("tokenizers"),
    }
    if given.json:
        print(json.dumps(facts))
        return
    for stage, taken in made.seconds.items():
        print(f"{stage:<22}{taken:>9.2f} s")
    print(f"{'total':<22}{total:>9.2f} s, {facts['sequences']} sequences of {given.seq_len} tokens")
    for name in ("chunks", "recall", "same_document_recall", "tokenizers", "peak_memory_bytes"):
        print(f"{name:<22}{facts[name]}")


if __name__ == "__main__":
    main()
