"""What a mixed corpus does to the fitted embedder: languages, scripts, code, boilerplate, rank."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray

import nextlong_rs as nl

Texts = tuple[list[str], NDArray[np.int64], NDArray[np.str_]]


def language(name: str, documents: int, chunks: int) -> tuple[list[str], list[int]]:
    """Chunks of a made-up language: frequent words, and a few words of each document's own."""
    rng = np.random.default_rng(sum(name.encode()))
    texts, owner = [], []
    for document in range(documents):
        own = [f"{name}own{rng.integers(0, 500)}" for _ in range(4)]
        for _ in range(chunks):
            frequent = [f"{name}f{number}" for number in rng.integers(0, 15, 40)]
            texts.append(" ".join(rng.permutation([*frequent, *rng.choice(own, 12)])))
            owner.append(document)
    return texts, owner


def recall(vectors: NDArray[Any], owner: NDArray[Any]) -> float:
    """Same-document recall@10."""
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -9)
    found = []
    for row, near in enumerate(np.argsort(-similar, axis=1)[:, :10]):
        siblings = int((owner == owner[row]).sum()) - 1
        if siblings:
            found.append((owner[near] == owner[row]).sum() / min(10, siblings))
    return float(np.mean(found))


def mixed(*parts: tuple[list[str], list[int]]) -> Texts:
    texts = [text for part, _ in parts for text in part]
    owner = [number * 100_000 + one for number, (_, own) in enumerate(parts) for one in own]
    kind = [str(number) for number, (_, own) in enumerate(parts) for _ in own]
    return texts, np.array(owner), np.array(kind)


def test_a_language_of_few_texts_keeps_its_distinctions() -> None:
    texts, owner, kind = mixed(language("en", 600, 5), language("xx", 12, 5), language("yyy", 6, 5))
    embedder = nl.Embedder.fit(texts, dim=64)
    vectors = embedder.encode(texts)
    assert len(embedder.groups) == 3
    for one in ("0", "1", "2"):
        rows = np.flatnonzero(kind == one)
        alone = nl.Embedder.fit([texts[row] for row in rows], dim=64)
        own = recall(alone.encode([texts[row] for row in rows]), owner[rows])
        assert recall(vectors[rows], owner[rows]) > own - 0.05, one
        near = np.argsort(-(vectors[rows] @ vectors.T), axis=1)[:, : min(20, len(rows))]
        assert (kind[near] == one).mean() > 0.95, one


def test_a_hundred_groups_of_twenty_texts_keep_their_distinctions() -> None:
    parts = [language(f"l{number}q", 4, 5) for number in range(100)]
    texts, owner, kind = mixed(*parts)
    embedder = nl.Embedder.fit(texts, dim=256)
    vectors = embedder.encode(texts)
    assert len(embedder.groups) == 100
    assert recall(vectors, owner) > 0.95
    near = np.argsort(-(vectors @ vectors.T), axis=1)[:, :20]
    assert (kind[near] == kind[:, None]).mean() > 0.99


def test_scripts_and_code_in_one_document_are_embedded() -> None:
    prose, prose_owner = language("en", 200, 5)
    names = ["alpha", "beta", "gamma", "delta", "kappa", "sigma"]
    rng = np.random.default_rng(4)
    code = [
        "\n".join(
            f"def {a}_{n}(self, {b}): return self.{b}.{a}({n})"
            for a, b in rng.choice(names, (12, 2))
        )
        for n in range(100)
    ]
    both = [f"{prose[5 * n]}\n{code[n]}\n北京大学的研究人员发现了新的方法 {n}" for n in range(50)]
    texts = [*prose, *code, *both]
    embedder = nl.Embedder.fit(texts, dim=64)
    vectors = embedder.encode(texts)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert recall(vectors[:1000], np.array(prose_owner)) > 0.9
    # The prose in a mixed text still says which document it is from.
    similar = vectors[-50:] @ vectors[:1000].T
    right = [np.array(prose_owner)[np.argmax(row)] == n for n, row in enumerate(similar)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize(("count", "dim"), [(40, 64), (240, 256), (600, 256)])
def test_independent_texts_have_as_many_directions_as_dimensions(count: int, dim: int) -> None:
    rng = np.random.default_rng(1)
    texts = [
        " ".join(["the", "of", "and"] * 9 + [f"w{n}" for n in rng.integers(0, 4000, 30)])
        for _ in range(count)
    ]
    vectors = nl.Embedder.fit(texts, dim=dim).encode(texts)
    values = np.linalg.svd(vectors, compute_uv=False)
    assert (values > values[0] * 1e-3).sum() == min(count, dim)


def test_the_groups_do_not_depend_on_threads_and_are_saved(tmp_path: Path) -> None:
    texts, _, _ = mixed(language("en", 100, 5), language("xx", 12, 5))
    one, two = (nl.Embedder.fit(texts, dim=32, threads=threads) for threads in (1, 2))
    one.save(tmp_path / "one")
    two.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded = nl.Embedder.load(tmp_path / "one")
    assert loaded.groups == one.groups
    assert loaded.encode(texts).tobytes() == two.encode(texts).tobytes()


def boilerplate() -> list[str]:
    rng = np.random.default_rng(2)
    words = [f"w{number}" for number in range(400)]
    return [
        f"Learning Objectives\nContents of page\n{' '.join(rng.choice(words, 30))}\n  Next page "
        for _ in range(200)
    ]


def test_lines_of_many_documents_do_not_count() -> None:
    texts = boilerplate()
    bare = [text.split("\n")[2] for text in texts]
    embedder = nl.Embedder.fit(texts, dim=32)
    assert embedder.encode(texts[:9]).tobytes() == embedder.encode(bare[:9]).tobytes()
    # A text of boilerplate alone is embedded as it is.
    whole = nl.Embedder.fit(texts, dim=32, boilerplate_share=1.0)
    assert np.any(whole.encode(["Learning Objectives"]))
    assert whole.encode(texts[:9]).tobytes() != whole.encode(bare[:9]).tobytes()
    with pytest.raises(nl.ConfigError, match="boilerplate_share"):
        nl.Embedder.fit(texts, boilerplate_share=1.5)


def test_a_run_reports_the_groups_it_detects(tmp_path: Path) -> None:
    texts, owner, _ = mixed(language("en", 120, 4), language("xx", 40, 4))
    documents = [
        "\n".join(np.array(texts)[owner == one].tolist()) + "\n" for one in np.unique(owner)
    ]
    made = nl.synthesize(
        documents,
        tmp_path / "out",
        tokenizer=nl.sample_tokenizer(),
        seq_len=2048,
        chunk_size=500,
        dim=32,
        num_sequences=20,
        max_containment=None,
        progress=False,
    )
    groups = made.manifest["summary"]["groups"]
    assert len(groups) == 2
    assert all(group["same_group_share"] > 0.9 for group in groups if group["negatives"])
    assert all(len(group["name"].split()) == 3 for group in groups)


@pytest.fixture(scope="module")
def medium(shared: Path) -> Texts:
    """Every fourth chunk of the textbooks and all of XQuAD, with owners and sources."""
    path = shared / "corpus" / "corpus_medium.jsonl.zst"
    texts, owner, source = [], [], []
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        for number, line in enumerate(io.TextIOWrapper(reader, encoding="utf-8", newline="\n")):
            row = json.loads(line)
            step = 4 if row["source"] == "openstax" else 1
            if step == 4 or row["source"].startswith("xquad"):
                for chunk in nl.chunk(row["text"])[::step]:
                    texts.append(chunk)
                    owner.append(number)
                    source.append(row["source"])
    return texts, np.array(owner), np.array(source)


def test_real_languages_keep_their_distinctions(medium: Texts) -> None:
    texts, owner, source = medium
    vectors = nl.Embedder.fit(texts).encode(texts)

    def alone(rows: NDArray[Any]) -> NDArray[Any]:
        own = [texts[row] for row in rows]
        return nl.Embedder.fit(own).encode(own)

    for name in sorted(set(source.tolist()) - {"openstax", "xquad-en"}):
        rows = np.flatnonzero(source == name)
        loss = recall(alone(rows), owner[rows]) - recall(vectors[rows], owner[rows])
        assert loss <= 0.10, name
        similar = vectors[rows] @ vectors.T
        near = np.argsort(-similar, axis=1)[:, 1 : min(51, len(rows))]
        assert (source[near] == name).mean() >= 0.9, name
