"""The report by group: counts, similarities and warnings for each source."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support.reading import write_lines

import nextlong_rs as nl
from nextlong_rs.corpus.blocks import CorpusConfig, read_blocks
from nextlong_rs.corpus.inputs import resolve
from nextlong_rs.errors import ConfigError, CorpusError, RunError
from nextlong_rs.result.groups import table, warnings
from nextlong_rs.run.tasks import Tasks

TOPICS = 8


def documents(*, noise: int = 120, plain: int = 120, chunks: int = 4) -> Iterator[dict[str, str]]:
    """Documents of two sources, each line a chunk that begins with its number."""
    for number in range(plain + noise):
        source = "plain" if number < plain else "noise"
        numbers = range(number * chunks, (number + 1) * chunks)
        lines = (
            " ".join([str(line), source, *(f"w{line * 31 + word * 7}" for word in range(30))])
            for line in numbers
        )
        yield {"text": "\n".join(lines), "from": source}


def embed(texts: list[str]) -> NDArray[np.float32]:
    """Vectors of topics for plain texts, and of nothing that two texts share for the others."""
    rows = np.zeros((len(texts), 1024), np.float32)
    for row, text in zip(rows, texts, strict=True):
        number, source = text.split()[:2]
        if source == "plain":
            row[int(number) // 4 % TOPICS] = 1.0
            row[TOPICS + int(number) % 32] = 0.5
        else:
            row[64 + int(number) % 960] = 1.0
    return rows


def synthesize(inputs: Any, output: Path, **options: Any) -> nl.Result:
    given = {
        "seq_len": 1024,
        "chunk_size": 300,
        "max_score": None,
        "source_column": "from",
        "embedder": embed,
        "progress": False,
        **options,
    }
    return nl.synthesize(inputs, output, tokenizer=nl.sample_tokenizer(), **given)


def groups(result: nl.Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.manifest["summary"]["groups"]
    return found


def notes(result: nl.Result) -> list[str]:
    found: list[str] = json.loads((result.path / "work/measured.json").read_bytes())["notes"]
    return found


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> nl.Result:
    return synthesize(list(documents()), tmp_path_factory.mktemp("groups") / "out")


def test_the_warning_names_the_source_whose_negatives_are_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = synthesize(list(documents()), tmp_path / "out", progress=True)
    (warning,) = [note for note in notes(result) if "random chunks" in note]
    assert "noise (" in warning
    assert "plain (" not in warning
    assert f"nextlong: {warning}\n" in capsys.readouterr().err
    by_name = {one["name"]: one for one in groups(result)}
    assert set(by_name) == {"noise", "plain"}
    plain, noise = by_name["plain"], by_name["noise"]
    assert plain["similarity"] > plain["random_similarity"] + 0.3
    assert noise["similarity"] < noise["random_similarity"] + 0.02
    assert plain["same_group_share"] > 0.9


def test_without_noise_nothing_is_warned_of(tmp_path: Path) -> None:
    result = synthesize(list(documents(noise=0)), tmp_path / "out")
    assert [one["name"] for one in groups(result)] == ["plain"]
    assert notes(result) == []


def test_the_groups_add_up_to_the_whole(result: nl.Result) -> None:
    summary = result.manifest["summary"]
    for name, whole in {
        "chunks": summary["corpus"]["chunks"],
        "documents": summary["corpus"]["documents"],
        "sequences": summary["sequences"]["made"],
        "meta_chunks": summary["sequences"]["meta_chunks"],
        "negatives": summary["sequences"]["negatives"],
        "neighbours": sum(summary["refused_neighbours"].values())
        + summary["sequences"]["negatives"],
    }.items():
        assert sum(one[name] for one in groups(result)) == whole, name
    for one in groups(result):
        used = one["negatives"] / one["neighbours"]
        assert sum(one["refused"].values()) + used == pytest.approx(1, abs=1e-3)


@given(
    sources=st.lists(
        st.sampled_from(["a", "b", "", None, 7, True, "(other)", "é\n"]), min_size=12, max_size=30
    ),
    rules=st.fixed_dictionaries(
        {
            "max_reuse": st.sampled_from([None, 1, 4]),
            "on_short": st.sampled_from(["drop", "shorten"]),
            "exclude_same_doc": st.booleans(),
            "num_sequences": st.sampled_from([None, 3]),
        }
    ),
)
def test_the_groups_add_up_whatever_the_rules(
    sources: list[str | int | bool | None], rules: dict[str, Any]
) -> None:
    given = [
        {**one, "from": source}
        for source, one in zip(sources, documents(noise=0, plain=len(sources)), strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = synthesize(given, Path(folder, "out"), **rules)
        except RunError as error:
            if "no sequences produced" in str(error):
                return
            raise
        summary, found = result.manifest["summary"], groups(result)
        names = {"(none)" if source in (None, "") else str(source) for source in sources}
        names = {"true" if name == "True" else name for name in names}
        assert {one["name"] for one in found} == names
        for name in ("made", "negatives", "meta_chunks"):
            of_groups = "sequences" if name == "made" else name
            assert sum(one[of_groups] for one in found) == summary["sequences"][name]
        refused = sum(summary["refused_neighbours"].values())
        neighbours = sum(one["neighbours"] for one in found)
        assert neighbours == refused + summary["sequences"]["negatives"]
        tried = ("made", "dropped_short", "long_skipped")
        assert sum(one["documents_tried"] for one in found) == sum(
            summary["sequences"][name] for name in tried
        )
        assert all(str(result).splitlines())


def test_threads_and_a_resumed_run_give_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: nl.Result
) -> None:
    other = synthesize(list(documents()), tmp_path / "threads", threads=1)
    assert groups(other) == groups(result)
    marked: list[Any] = []

    def mark(self: Tasks, number: Any, *given: Any, **facts: Any) -> Any:
        found = original(self, number, *given, **facts)
        if self.stage == "mine":
            marked.append(number)
            if len(marked) == 2:
                raise KeyboardInterrupt
        return found

    original = Tasks.mark
    path = write_lines(tmp_path / "documents.jsonl", documents())
    whole = synthesize(path, tmp_path / "whole", num_sequences=100)
    with monkeypatch.context() as patched:
        patched.setattr(Tasks, "mark", mark)
        with pytest.raises(KeyboardInterrupt):
            synthesize(path, tmp_path / "stopped", num_sequences=100)
    assert len(marked) == 2
    resumed = synthesize(path, tmp_path / "stopped", num_sequences=100)
    assert groups(resumed) == groups(whole)
    assert groups(synthesize(path, tmp_path / "stopped", num_sequences=100, threads=1)) == groups(
        whole
    )


def test_another_source_column_makes_the_chunks_and_the_report_again(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "documents.jsonl", documents(noise=20, plain=40))
    plain = synthesize(path, tmp_path / "out", source_column=None)
    assert "groups" not in plain.manifest["summary"]
    assert "  groups" not in str(plain).splitlines()
    sequences = [list(row["input_ids"]) for row in plain]
    (part,) = (plain.path / "work/chunks").glob("part-*.arrow")
    assert b"source" not in part.read_bytes()
    named = synthesize(path, tmp_path / "out", overwrite=True)
    assert "chunk: rerunning, source_column changed from None to 'from'" in notes(named)
    assert {one["name"] for one in groups(named)} == {"plain", "noise"}
    assert [list(row["input_ids"]) for row in named] == sequences
    missing = synthesize(path, tmp_path / "out", source_column="absent", overwrite=True)
    assert [one["name"] for one in groups(missing)] == ["(none)"]
    assert "no document has a field 'absent' (source_column)" in notes(missing)


def test_the_table_shows_the_largest_groups(result: nl.Result) -> None:
    shown = str(result).splitlines()
    first = shown.index("  groups")
    assert shown[first + 1].split()[:3] == ["chunks", "sequences", "negatives"]
    assert {line.split()[0] for line in shown[first + 2 : first + 4]} == {"plain", "noise"}
    many = [{"name": f"a{number}", "chunks": number} for number in range(15)]
    lines = list(table(many))
    assert len(lines) == 1 + 12 + 1
    assert lines[-1] == "and 3 smaller groups (manifest.json lists them)"
    (_, line) = table([{"name": "tab\there" + "x" * 99, "refused": {"margin": 0.25}}])
    assert line.isprintable()
    assert line.endswith("margin 0.25")
    for strange in (
        {},
        {"name": 5, "chunks": [1], "refused": {"margin": None}, "similarity": True},
    ):
        assert len(list(table([strange]))) == 2


def estimate(mean: float, error: float = 0.001, meta_chunks: int = 50) -> dict[str, float]:
    return {"mean": mean, "error": error, "meta_chunks": meta_chunks}


def reported(**changes: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "negatives": 500,
        "similarity": estimate(0.4),
        "random_similarity": estimate(0.1),
        "random_in_group": estimate(0.2),
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"similarity": estimate(0.11)}, ["than random chunks in x (0."]),
        ({"similarity": estimate(0.125), "random_in_group": None}, []),
        ({"similarity": estimate(0.2, error=0.08)}, ["than random chunks in x (0."]),
        ({"similarity": estimate(0.11), "negatives": 99}, []),
        ({"similarity": estimate(0.11, meta_chunks=4)}, []),
        ({"similarity": None}, []),
        ({"random_in_group": estimate(0.39)}, ["of the same group"]),
        ({"random_in_group": None}, []),
    ],
)
def test_a_group_is_named_if_its_negatives_are_no_better_than_chance(
    changes: dict[str, Any], expected: list[str]
) -> None:
    found = list(warnings([reported(), reported(**changes)]))
    assert len(found) == len(expected)
    assert all(part in line for line, part in zip(found, expected, strict=True))


def test_a_warning_names_eight_groups_and_counts_the_rest() -> None:
    noise = [reported(name=f"n{number}", similarity=estimate(0.1)) for number in range(11)]
    (warning,) = warnings(noise)
    assert "n7 (0.100, random 0.100) and 3 more groups; hint" in warning


SOURCES: list[tuple[object, str | None]] = [
    ("web", "web"),
    ("", None),
    (None, None),
    (5, "5"),
    (2.5, "2.5"),
    (True, "true"),
]


def sources_of(given: Any, **config: Any) -> tuple[list[str | None], dict[str, int]]:
    found: list[str | None] = []
    bad: dict[str, int] = {}
    for block in read_blocks(resolve(given), CorpusConfig(**config)):
        parsed = block.parse()
        found += [parsed.source(number) for number in range(len(parsed))]
        bad |= parsed.bad_counts()
    return found, bad


def test_a_source_is_read_from_every_kind_of_input(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "a", "s": source} for source, _ in SOURCES]
    rows.append({"text": "a"})
    expected = [*(text for _, text in SOURCES), None]
    path = write_lines(tmp_path / "a.jsonl", rows)
    for inputs in (path, rows, iter(rows)):
        assert sources_of(inputs, source_column="s") == (expected, {})
    assert sources_of(path)[0] == [None] * len(rows)
    assert sources_of(path, source_column="text")[0] == ["a"] * len(rows)
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    for column, texts in [
        (pa.array(["web", "", None]), ["web", None, None]),
        (pa.array(["web", "", None]).dictionary_encode(), ["web", None, None]),
        (pa.array([1, None, -3]), ["1", None, "-3"]),
        (pa.array([True, None, False]), ["true", None, "false"]),
        (pa.array([b"web", b"x", None]), ["web", "x", None]),
    ]:
        made = pa.table({"text": ["a", "b", "c"], "s": column})
        pq.write_table(made, tmp_path / "a.parquet")
        for table_or_file in (made, tmp_path / "a.parquet"):
            assert sources_of(table_or_file, source_column="s") == (texts, {})


def test_a_source_that_cannot_be_a_name_is_a_bad_row(tmp_path: Path) -> None:
    wrong: list[object] = [["x"], {"x": 1}, "x" * 4097, "\ud800"]
    rows = [{"text": "a", "s": source} for source in [*wrong, "good"]]
    path = write_lines(tmp_path / "a.jsonl", rows)
    expected = {
        "source is neither a string, a number nor a boolean": 2,
        "source is over the limit": 1,
        "lone surrogate": 1,
    }
    for inputs in (path, rows):
        assert sources_of(inputs, source_column="s") == (["good"], expected)
    pa = pytest.importorskip("pyarrow")
    made = pa.table({"text": ["a"], "s": [[1]]})
    with pytest.raises(CorpusError, match="column `s` holds List.*, not text, numbers or booleans"):
        sources_of(made, source_column="s")
    with pytest.raises(CorpusError, match="no column `t`; set source_column to one of: text, s"):
        sources_of(made, source_column="t")
    with pytest.raises(ConfigError, match="invalid `source_column`"):
        nl.Settings(source_column="")
