"""Which negatives a sequence may have: near-duplicates, own chunks, ranks, lengths."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

import nextlong_rs as nl

pq = pytest.importorskip("pyarrow.parquet")
WORD = re.compile("[\u4e00-\u9fff]|[^\\W_\u4e00-\u9fff]+")
HAN = [chr(0x4E00 + number) for number in range(800)]
LATIN = [f"word{number}" for number in range(800)]
META, NEGATIVE = 0, 1


def texts(words: list[str], *, seed: int = 1, documents: int = 60) -> list[str]:
    """Documents of four lines; half of the lines repeat a passage that others have too."""
    rng = random.Random(seed)
    join = "" if words is HAN else " "

    def passage(length: int) -> str:
        return join.join(rng.choices(words, k=length))

    common = [passage(40) for _ in range(8)]

    def line() -> str:
        parts = [passage(rng.randint(10, 60))]
        if rng.random() < 0.5:
            whole = rng.choice(common)
            parts.insert(rng.randint(0, 1), whole[: rng.randint(len(whole) // 3, len(whole))])
        return join.join(parts)

    return ["\n".join(line() for _ in range(4)) for _ in range(documents)]


def run(folder: Path, documents: list[str], **options: Any) -> tuple[list[Any], dict[str, Any]]:
    """The rows of a run over some documents, and its summary."""
    folder.mkdir(exist_ok=True)
    path = folder / "corpus.jsonl"
    lines = [json.dumps({"id": str(row), "text": text}) for row, text in enumerate(documents)]
    path.write_text("\n".join(lines))
    options = {"seq_len": 2048, "chunk_size": 300, "dim": 16, "max_reuse": None, **options}
    nl.synthesize(
        path,
        folder / "out",
        tokenizer=nl.sample_tokenizer(),
        progress=False,
        overwrite=True,
        **options,
    )
    summary = json.loads((folder / "out" / "manifest.json").read_text())["summary"]
    rows = [
        row
        for part in sorted((folder / "out").glob("part-*"))
        for row in pq.read_table(part).to_pylist()
    ]
    return rows, summary


def pieces(row: Any, documents: list[str], role: int) -> list[tuple[str, int, str]]:
    """(document, chunk, text of the whole chunk or what is left of it) of a role."""
    names = ["span_doc_id", "span_chunk", "span_char_start", "span_char_end", "span_role"]
    spans = zip(*(row[name] for name in names), strict=True)
    return [
        (document, chunk, documents[int(document)][start:end])
        for document, chunk, start, end, its_role in spans
        if its_role == role
    ]


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    """The distinct n-grams of a text."""
    words = WORD.findall(text.lower())
    return set(zip(*(words[start:] for start in range(n)), strict=False))


@pytest.mark.parametrize("words", [LATIN, HAN], ids=["spaces", "no spaces"])
@pytest.mark.parametrize(("most", "n"), [(0.3, 5), (0.0, 5), (0.5, 3)])
def test_no_chunk_stands_in_the_others_of_its_sequence(
    tmp_path: Path, words: list[str], most: float, n: int
) -> None:
    documents = texts(words)
    size = 60 if words is HAN else 300
    rules = {
        "chunk_size": size,
        "max_containment": most,
        "containment_words": n,
        "on_short": "shorten",
    }
    rows, summary = run(tmp_path, documents, **rules)
    assert summary["refused_neighbours"]["containment"] > 100
    for row in rows:
        metas = [grams(text, n) for _, _, text in pieces(row, documents, META)]
        # The last negative may be cut: what is left of it can share any part.
        negatives = [grams(text, n) for _, _, text in pieces(row, documents, NEGATIVE)][:-1]
        for place, one in enumerate(negatives):
            others = metas + negatives[:place] + negatives[place + 1 :]
            assert len(one & set().union(*others)) <= most * len(one)
        for one in metas:
            assert len(one & set().union(*negatives)) <= most * len(one)


def test_paper_mode_and_no_rule_allow_near_duplicates(tmp_path: Path) -> None:
    documents = [text for text in texts(LATIN, documents=12) for _ in range(4)]
    options = {"on_short": "shorten", "seq_len": 8192}
    _, summary = run(tmp_path, documents, max_containment=None, **options)
    refused = summary["refused_neighbours"]
    assert (refused["containment"], refused["same_text"]) == (0, 0)
    assert refused["same_chunk"] > 0
    _, summary = run(tmp_path, documents, mode="paper", **options)
    refused = summary["refused_neighbours"]
    assert (refused["containment"], refused["same_text"]) == (0, 0)
    _, summary = run(tmp_path, documents, **options)
    assert summary["refused_neighbours"]["same_text"] > 0


def test_own_chunks_are_negatives_where_they_are_not_excluded(tmp_path: Path) -> None:
    documents = texts(LATIN)

    def repeats(**options: Any) -> int:
        rows, _ = run(tmp_path, documents, on_short="shorten", seq_len=16384, **options)
        own = 0
        for row in rows:
            used = [place[:2] for place in pieces(row, documents, NEGATIVE)]
            assert len(set(used)) == len(used)
            own += sum(document == row["meta_doc_id"] for document, _ in used)
        return own

    assert repeats() == 0
    assert repeats(exclude_same_doc=False) > len(documents)
    assert repeats(exclude_same_doc=False, max_containment=None) > len(documents)


def test_a_document_of_long_tokens_is_not_too_long(tmp_path: Path) -> None:
    ruler = "\n".join("=" * 64 + " " + "-" * 64 for _ in range(64))
    tokenizer = nl.sample_tokenizer()
    from tokenizers import Tokenizer

    count = len(Tokenizer.from_file(str(tokenizer)).encode(ruler, add_special_tokens=False).ids)
    seq_len = 1024
    assert count < seq_len < len(ruler) / 8, (count, len(ruler))
    documents = [*texts(LATIN), ruler]
    rows, summary = run(tmp_path, documents, seq_len=seq_len, num_sequences=None)
    assert str(len(documents) - 1) in {row["meta_doc_id"] for row in rows}
    assert summary["sequences"]["long_skipped"] == 0


def test_a_long_document_is_counted_once(tmp_path: Path) -> None:
    documents = [*texts(LATIN, documents=30), "\n".join(texts(LATIN, seed=2, documents=40))]
    for choice, name in [("skip", "long_skipped"), ("pass", "long_passed")]:
        for mode in ["default", "paper"]:
            _, summary = run(tmp_path, documents, long_documents=choice, mode=mode)
            made = summary["sequences"]
            counted = [made[key] for key in ("long_skipped", "long_passed")]
            assert made[name] == sum(counted) == 1, (choice, mode, made)
            dropped = made["dropped_short"] + made["no_chunks_left"]
            assert made["made"] + made["long_skipped"] + dropped == len(documents)


def test_paper_mode_discards_what_is_short_by_less_than_a_separator(tmp_path: Path) -> None:
    documents = texts(LATIN, documents=20)
    separator = "\n" + "=" * 9 + " separator " + "=" * 9 + "\n"
    options = {"mode": "paper", "num_negatives": 2, "chunk_separator": separator}
    rows, _ = run(tmp_path, documents, seq_len=8192, on_short="shorten", **options)
    lengths = {row["meta_doc_id"]: row["length"] for row in rows}
    assert len(lengths) == len(documents)
    for seq_len in sorted(lengths.values())[5:15]:
        for more in (0, 1, 5):
            rows, _ = run(tmp_path, documents, seq_len=seq_len + more, **options)
            expected = {name for name, length in lengths.items() if length >= seq_len + more}
            assert {row["meta_doc_id"] for row in rows} == expected


def test_a_random_order_has_a_window_of_512_ranks(tmp_path: Path) -> None:
    documents = texts(LATIN, documents=250)
    options = {"sampling_strategy": "random", "index": "exact", "num_sequences": 20}

    def chunks(**window: int) -> list[Any]:
        rows, _ = run(tmp_path, documents, **options, **window)
        return [(row["span_doc_id"], row["span_chunk"]) for row in rows]

    assert chunks() == chunks(range_max=512)
    assert chunks(range_min=40) == chunks(range_min=40, range_max=552)
    assert chunks() != chunks(range_max=500)
