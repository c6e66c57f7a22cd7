"""A memory limit changes how many threads work, and no byte of what they make."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nextlong_rs as nl
from nextlong_rs.run import memory
from nextlong_rs.run.memory import MB, Budget, Need, parse_bytes
from nextlong_rs.stage.needs import needs


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (5, 5),
        ("2GB", 2_000_000_000),
        ("2 GiB", 2 << 30),
        ("1.5k", 1500),
        ("300mb", 300 * MB),
        ("7", 7),
        ("1T", 10**12),
    ],
)
def test_sizes_are_read(given: int | str, size: int) -> None:
    assert parse_bytes(given) == size


@pytest.mark.parametrize("wrong", ["", "much", "-1GB", "0", 0, -3, True, None, "2XB", "GB"])
def test_what_is_no_size_is_refused(wrong: Any) -> None:
    with pytest.raises(nl.ConfigError, match="invalid size"):
        parse_bytes(wrong)


@given(
    limit=st.integers(1, 10**10),
    held=st.integers(0, 10**9),
    each=st.integers(1, 10**9),
    shared=st.integers(0, 10**9),
    threads=st.integers(1, 256),
)
def test_threads_are_as_many_as_fit(
    limit: int, held: int, each: int, shared: int, threads: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "held_now", lambda: held)
        patch.setattr(memory, "give_back", lambda: None)
        need = Need(each=each, shared=shared)
        assert Budget().threads("mine", threads, need) == threads
        if held + shared + each > limit:
            with pytest.raises(nl.ConfigError, match="too small for the stage mine"):
                Budget(limit).threads("mine", threads, need)
            return
        found = Budget(limit).threads("mine", threads, need)
        assert 1 <= found <= threads
        assert held + shared + each * found <= limit
        assert found == threads or held + shared + each * (found + 1) > limit


def test_every_stage_says_what_it_needs() -> None:
    small, large = needs(nl.Settings()), needs(nl.Settings(), chunks=10**8, sequences=10**5)
    assert list(small) == ["chunk", "fit", "embed", "plan", "index", "mine", "write"]
    for stage, need in large.items():
        assert need.each + need.shared >= small[stage].each + small[stage].shared > 0


def test_a_limit_that_one_thread_passes_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    with pytest.raises(nl.ConfigError, match=r"memory_limit .50 MB. is too small for the stage"):
        nl.synthesize(
            nl.sample_corpus(),
            tmp_path / "out",
            tokenizer=nl.sample_tokenizer(),
            memory_limit="50MB",
            progress=False,
        )
    assert not list((tmp_path / "out").glob("work/chunks/*"))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were a new one: other tests may have left it with much memory."""
    monkeypatch.setattr(memory, "held_now", lambda process=None: 60 * MB)


@pytest.mark.usefixtures("fresh")
def test_a_graph_that_passes_the_limit_is_refused_before_anything_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A corpus of so many chunks that a graph of them would not fit.
    real = needs
    monkeypatch.setattr(
        "nextlong_rs.stage.context.needs",
        lambda settings, *, chunks=0, **rest: real(settings, chunks=chunks * 10_000, **rest),
    )
    with pytest.raises(nl.ConfigError, match=r"too small for the stage (plan|index)"):
        nl.synthesize(
            nl.sample_corpus(),
            tmp_path / "out",
            tokenizer=nl.sample_tokenizer(),
            index="hnsw",
            memory_limit="700MB",
            progress=False,
        )
    assert list((tmp_path / "out").glob("work/chunks/*"))
    assert not list((tmp_path / "out").glob("work/embed/*"))


@pytest.mark.usefixtures("fresh")
def test_a_line_that_passes_the_limit_is_an_error_that_names_the_ways_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "' + "word " * 30_000_000 + '"}\n')
    given: dict[str, Any] = {
        "tokenizer": nl.sample_tokenizer(),
        "memory_limit": "450MB",
        "progress": False,
    }
    with pytest.raises(nl.CorpusError, match=r"line 2 .* raise memory_limit, or lower max_docum"):
        nl.synthesize(path, tmp_path / "out", **given)
    with pytest.raises(nl.NextlongError, match=r"bad|unusable|no sequence|max_error_rate"):
        nl.synthesize(path, tmp_path / "out", **given, max_document_bytes=30_000_000)
    quarantine = (tmp_path / "out" / "work" / "quarantine.jsonl").read_text()
    assert "line" in quarantine


RUN = """
import json, sys
import nextlong_rs as nl
given = json.loads(sys.argv[1])
nl.synthesize(nl.sample_corpus(), given.pop("output"), tokenizer=nl.sample_tokenizer(),
              progress=False, **given)
"""


def run(output: Path, **options: Any) -> tuple[list[bytes], int]:
    """The files of a run in a process of its own, and the most memory that it held."""
    given = {"output": str(output), "seq_len": 32_768, "num_sequences": 600, **options}
    process = subprocess.Popen([sys.executable, "-c", RUN, json.dumps(given)])
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory.held_now(process.pid))
        time.sleep(0.01)
    assert process.returncode == 0
    return [path.read_bytes() for path in sorted(output.glob("part-*"))], peak


@pytest.mark.skipif(not memory.held_now(), reason="this system does not say what a process holds")
def test_the_limit_is_kept_and_changes_no_byte(tmp_path: Path) -> None:
    rules = {"max_reuse": None, "max_score": None, "max_containment": None, "min_meta_chunks": 1}
    free, _ = run(tmp_path / "free", threads=2, **rules)
    limited, peak = run(tmp_path / "limited", threads=16, memory_limit="420MB", **rules)
    assert len(free) == 1
    assert limited == free
    assert peak < 420 * MB
