"""A tokenizer's tables are made while the corpus is read: what that must not change."""

from __future__ import annotations

import json
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tokenizers

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.stage import chunk as cutting
from nextlong_rs.tokenize.load import load
from nextlong_rs.tokenize.tokenizer import Tokenizer

synthesis = import_module("nextlong_rs.synthesize")
"""The module; the package has the function under this name."""

SMALL: dict[str, Any] = {"seq_len": 4096, "num_sequences": 4, "progress": False, "threads": 2}


def synthesize(output: Path, **changes: Any) -> nl.Result:
    options = {"inputs": nl.sample_corpus(), "tokenizer": nl.sample_tokenizer(), **SMALL, **changes}
    return nl.synthesize(options.pop("inputs"), output, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.*"))}


@pytest.fixture
def exotic(tmp_path: Path) -> Path:
    """A file whose tokens can be read, but which the core cannot encode with."""
    package = tokenizers.Tokenizer.from_file(str(nl.sample_tokenizer()))
    package.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.WhitespaceSplit(),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True),
        ]
    )
    path = tmp_path / "exotic.json"
    package.save(str(path))
    with pytest.raises(nl.TokenizerError):
        _nextlong.Tokenizer(path.read_text())
    assert _nextlong.Tokenizer(path.read_text(), lazy=True).token_to_id("<|bos|>") == 0
    return path


def test_a_lazy_tokenizer_is_the_same_once_it_is_ready() -> None:
    whole = load(nl.sample_tokenizer())
    lazy = load(nl.sample_tokenizer(), lazy=True)
    assert (lazy.hash, lazy.vocab_size) == (whole.hash, whole.vocab_size)
    assert lazy.special_ids() == whole.special_ids()
    lazy.ready()
    lazy.ready()
    text = "It's one, two;\n\nthree."
    assert lazy.encode(text).tolist() == whole.encode(text).tolist()
    assert (lazy.kind, lazy.notes) == (whole.kind, whole.notes)


def test_what_the_core_cannot_read_is_encoded_by_the_package(exotic: Path, tmp_path: Path) -> None:
    # Only shapes that are known to be encoded alike wait for the first need.
    lazy = load(exotic, lazy=True)
    hash = lazy.hash
    assert not isinstance(lazy.encoder, _nextlong.Tokenizer)
    lazy.ready()
    assert not lazy.threads_allowed
    assert lazy.hash == hash
    made = synthesize(tmp_path / "a", tokenizer=exotic)
    assert made.manifest["tokenizer"]["hash"] == hash
    synthesize(tmp_path / "b", tokenizer=exotic, threads=1)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_lazy_tokenizer_is_made_by_the_first_need(
    exotic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(exotic)
    for need in (
        lambda one: one.encode("two words").tolist(),
        lambda one: one.count("two words"),
        lambda one: one.decode(whole.encode("two words")),
        lambda one: one.kind,
        lambda one: one.threads_allowed,
        lambda one: load(one).encoder.notes,
    ):
        assert need(load(exotic, lazy=True)) == need(whole)
    # What failed once is tried again, and says so in the same words.
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tokenizers", None)
        for _ in range(2):
            with pytest.raises(nl.TokenizerError, match=r"exotic\.json.*pip install"):
                load(exotic, lazy=True)
    lazy = load(exotic, lazy=True)
    assert lazy.encode("two words").tolist() == whole.encode("two words").tolist()


def test_an_unusable_tokenizer_takes_nothing_away(
    exotic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    synthesize(tmp_path / "out")
    before = files(tmp_path / "out")
    for how in ({"overwrite": True}, {"overwrite": True, "resume": False}):
        with pytest.raises(nl.TokenizerError, match=r"exotic\.json.*pip install"):
            synthesize(tmp_path / "out", tokenizer=exotic, **how)
        assert files(tmp_path / "out") == before
    assert len(synthesize(tmp_path / "out")) == 4
    # Nor from a run that was begun, though its chunks would be cut anew.
    (tmp_path / "out/manifest.json").unlink()
    work = {path: path.read_bytes() for path in (tmp_path / "out/work").rglob("part-*.*")}
    with pytest.raises(nl.TokenizerError, match="pip install"):
        synthesize(tmp_path / "out", tokenizer=exotic, chunk_size=500)
    assert all(path.read_bytes() == held for path, held in work.items())
    # Nor from an iterator.
    texts = iter([f"Document {n}.\n" * 400 for n in range(40)])
    with pytest.raises(nl.TokenizerError, match="pip install"):
        synthesize(tmp_path / "iterator", inputs=texts, tokenizer=exotic)
    assert len(list(texts)) == 40
    # Where nothing was, a run that goes on finds the chunks cut.
    with pytest.raises(nl.TokenizerError, match="pip install"):
        synthesize(tmp_path / "new", tokenizer=exotic)
    assert len(synthesize(tmp_path / "new")) == 4
    assert files(tmp_path / "new") == before


def test_a_run_ends_as_soon_as_its_tokenizer_is_known_to_be_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The corpus is cut in as many blocks as it has documents; a few are cut before the error."""
    cut, known = threading.Event(), threading.Event()

    def ready(self: Tokenizer) -> None:
        assert cut.wait(30)
        known.set()
        raise nl.TokenizerError("the tables contradict themselves")

    blocks: list[int] = []
    whole = cutting._Stage.cut

    def cut_one(self: Any, item: Any) -> Any:
        blocks.append(1)
        if len(blocks) > 3:
            cut.set()
            assert known.wait(30)
        return whole(self, item)

    monkeypatch.setattr(Tokenizer, "ready", ready)
    monkeypatch.setattr(cutting._Stage, "cut", cut_one)
    monkeypatch.setattr(synthesis, "fit", None)
    corpus = tmp_path / "corpus.jsonl"
    lines = (json.dumps({"text": f"Document {n}.\n" * 400}) for n in range(400))
    corpus.write_text("\n".join(lines))
    monkeypatch.setattr("nextlong_rs.corpus.blocks.BLOCK_BYTES", 1 << 12)
    with pytest.raises(nl.TokenizerError, match="contradict"):
        synthesize(tmp_path / "out", inputs=corpus)
    assert 3 < len(blocks) < 100


@pytest.mark.parametrize(
    "options", [{"threads": 1}, {"memory_limit": "4GB"}, {"chunk_unit": "tokens"}]
)
def test_where_the_tables_must_be_there_first_they_are(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    ready, chunk = Tokenizer.ready, cutting.chunk

    def readied(self: Tokenizer) -> None:
        if order.count("ready") == 0:
            time.sleep(0.2)
        ready(self)
        order.append("ready")

    def chunked(*rest: Any) -> Any:
        order.append("chunk")
        return chunk(*rest)

    monkeypatch.setattr(Tokenizer, "ready", readied)
    monkeypatch.setattr(synthesis, "chunk", chunked)
    sizes = {"chunk_size": 300} if "chunk_unit" in options else {}
    assert len(synthesize(tmp_path / "out", **options, **sizes)) == 4
    assert [name for at, name in enumerate(order) if name not in order[:at]] == ["ready", "chunk"]


@pytest.mark.parametrize("separator", ["token:<sep>", "token:<|endoftext|>", "a<|endoftext|>"])
def test_a_wrong_separator_is_told_before_anything_is_made(separator: str, tmp_path: Path) -> None:
    with pytest.raises(nl.ConfigError, match="chunk_separator"):
        synthesize(tmp_path / "out", chunk_separator=separator)
    assert not (tmp_path / "out").exists()
