"""A run that was stopped goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.killing import digest, torture

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.corpus import blocks
from nextlong_rs.embed.resolve import identity
from nextlong_rs.run.files import Number
from nextlong_rs.run.status import status
from nextlong_rs.run.tasks import Tasks
from nextlong_rs.stage import mine as mine_stage
from nextlong_rs.stage import parts, waves
from nextlong_rs.stage.parts import Parts
from nextlong_rs.synthesize import hardly_alike


def synthesize(output: Path, **options: Any) -> nl.Result:
    given = {"seq_len": 4096, "num_sequences": 40, "progress": False, **options}
    inputs = given.pop("inputs", nl.sample_corpus())
    return nl.synthesize(inputs, output=output, tokenizer=nl.sample_tokenizer(), **given)


def notes(output: Path) -> list[str]:
    found: list[str] = json.loads((output / "work/measured.json").read_bytes())["notes"]
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished")
    synthesize(output)
    return output


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is really done, a line for every piece of work."""
    done: list[str] = []

    def watched(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*given: Any, **options: Any) -> Any:
            done.append(name)
            return original(*given, **options)

        monkeypatch.setattr(owner, name, call)

    watched(_nextlong, "chunk_part")
    watched(mine_stage, "_tokenize")
    watched(Parts, "_write")
    return done


def test_kills_at_any_moment_do_not_change_the_bytes(tmp_path: Path) -> None:
    assert torture(20, seed=1, folder=tmp_path) >= 1


def test_a_finished_run_is_not_made_again(tmp_path: Path, work: list[str]) -> None:
    first = synthesize(tmp_path)
    before = digest(tmp_path)
    assert {"chunk_part", "_tokenize", "_write"} <= set(work)
    work.clear()
    again = synthesize(tmp_path, threads=1)
    assert (work, digest(tmp_path), len(again)) == ([], before, len(first))
    assert notes(tmp_path) == []


def test_a_changed_setting_redoes_the_stages_that_it_touches(
    tmp_path: Path, work: list[str]
) -> None:
    synthesize(tmp_path / "a")
    with pytest.raises(nl.RunError, match=r"placement \('head', not 'tail'\).*overwrite"):
        synthesize(tmp_path / "a", placement="tail")
    work.clear()
    synthesize(tmp_path / "a", placement="tail", overwrite=True)
    assert "chunk_part" not in work
    assert "_tokenize" in work
    assert any(
        "mine: rerunning, placement changed from 'head' to 'tail'" in n
        for n in notes(tmp_path / "a")
    )
    synthesize(tmp_path / "b", placement="tail")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize("documents", [0, 1, 15, 47, 384, 5748])
@pytest.mark.parametrize("wanted", [None, 1, 40, 382, 100_000])
@pytest.mark.parametrize(("seq_len", "most"), [(4096, 256), (1 << 17, 256), (1 << 20, 32)])
def test_waves_hold_every_document_once(
    documents: int, wanted: int | None, seq_len: int, most: int
) -> None:
    settings = nl.Settings(num_sequences=wanted, seq_len=seq_len)
    borders = waves.wave_borders(documents, settings)
    assert (borders[0], borders[-1]) == (0, documents)
    sizes = [b - a for a, b in itertools.pairwise(borders)]
    assert all(16 <= size <= most for size in sizes[:-1])
    assert all(0 < size <= most for size in sizes[-1:])


def test_files_written_while_mining_are_those_written_after(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(parts, "PART_TOKENS", 4096 * 4)
    synthesize(tmp_path / "ahead")
    synthesize(tmp_path / "after")
    for marker in (tmp_path / "after/work/_done/write").glob("0*.json"):
        marker.unlink()
    synthesize(tmp_path / "after")
    assert digest(tmp_path / "ahead") == digest(tmp_path / "after")
    assert len(list((tmp_path / "ahead").glob("*.parquet"))) == 10


def test_fewer_output_files_leave_no_stray_ones(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(parts, "PART_TOKENS", 4096 * 4)
    synthesize(tmp_path / "a")
    synthesize(tmp_path / "a", num_sequences=5, overwrite=True)
    synthesize(tmp_path / "b", num_sequences=5)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize(
    "name",
    [
        "part-00000.parquet",
        "work/chunks/part-00000-00000.arrow",
        "work/embed/part-00000.npy",
        "work/embed/model.safetensors",
        "work/tokens/part-00001.arrow",
        "work/select/part-00000.arrow",
    ],
)
@pytest.mark.parametrize("how", ["missing", "truncated", "changed"])
def test_a_damaged_file_is_noticed_and_made_again(
    finished: Path, tmp_path: Path, name: str, how: str
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = digest(tmp_path)
    file = tmp_path / name
    content = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    synthesize(tmp_path)
    assert digest(tmp_path) == before
    assert any(name in note for note in notes(tmp_path))


def test_a_changed_input_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"text": f"word{n} " * 900}) for n in range(60)]
    path.write_text("\n".join(lines))
    options = {"inputs": path, "num_sequences": 4, "max_containment": None, "max_score": None}
    synthesize(tmp_path / "a", **options)
    path.write_text("\n".join(lines[1:]))
    synthesize(tmp_path / "a", **options, overwrite=True)
    named = f"chunk: rerunning, inputs changed ({path} changed)"
    assert named in notes(tmp_path / "a")
    synthesize(tmp_path / "b", **options)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_message_names_the_inputs_that_changed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"word{number} " * 900)
    options = {"inputs": folder, "num_sequences": 2, "max_containment": None, "max_score": None}
    options |= {"long_documents": "pass", "on_short": "shorten", "min_meta_chunks": 1}
    synthesize(tmp_path / "a", **options)
    (folder / "2.txt").write_text("other " * 900)
    (folder / "4.txt").unlink()
    (folder / "7.txt").write_text("word7 " * 900)
    with pytest.raises(nl.RunError, match=r"2.txt changed, \S*4.txt is gone, \S*7.txt is new"):
        synthesize(tmp_path / "a", **options)
    named = r"the weight of \S*0.txt, the weight of \S*1.txt, \S*2.txt changed and 4 more"
    with pytest.raises(nl.RunError, match=named):
        synthesize(tmp_path / "a", **{**options, "inputs": {folder: 2.0}})


def test_an_iterable_is_cut_again_and_the_rest_is_kept(tmp_path: Path, work: list[str]) -> None:
    texts = [" ".join(f"w{n}x{m % 97}" for m in range(300)) for n in range(60)]
    options: dict[str, Any] = {"num_sequences": 4, "min_meta_chunks": 1}
    synthesize(tmp_path, inputs=iter(texts), **options)
    before = digest(tmp_path)
    work.clear()
    synthesize(tmp_path, inputs=iter(texts), **options)
    assert set(work) == {"chunk_part"}
    assert digest(tmp_path) == before


def test_a_failing_embedder_is_one_error_and_the_restart_goes_on(tmp_path: Path) -> None:
    calls = 0
    fail_at = 3

    def embed(texts: list[str]) -> Any:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise ValueError("the server is away")
        return np.random.default_rng(len(texts[0])).normal(size=(len(texts), 16))

    with pytest.raises(nl.EmbeddingError, match="the server is away"):
        synthesize(tmp_path / "a", embedder=embed)
    assert status(tmp_path / "a").state == "stopped"
    synthesize(tmp_path / "a", embedder=embed)
    synthesize(tmp_path / "b", embedder=embed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_what_an_embedder_made_before_it_failed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 19)
    given: list[int] = []
    broken = [5]

    def embed(texts: list[str]) -> Any:
        if len(given) == broken[0]:
            raise ConnectionError("the server is away")
        given.append(len(texts))
        return np.array([[text.count(letter) for letter in "etaoinshrdlu"] for text in texts])

    with pytest.raises(nl.EmbeddingError, match="the server is away"):
        synthesize(tmp_path / "a", embedder=embed)
    assert len(list((tmp_path / "a/work/_done/embed").glob("0*.json"))) >= 4
    broken.clear()
    broken.append(-1)
    begun = sum(given)
    synthesize(tmp_path / "a", embedder=embed)
    assert notes(tmp_path / "a") == []
    chunks = json.loads((tmp_path / "a/manifest.json").read_bytes())["summary"]["corpus"]["chunks"]
    assert sum(given) == chunks
    assert 0 < begun < chunks
    synthesize(tmp_path / "b", embedder=embed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize("stage", ["chunk", "fit", "embed", "mine", "write"])
def test_what_a_killed_run_of_other_settings_left_unmarked_is_not_used(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 19)
    mark = Tasks.mark

    def killed(tasks: Tasks, number: Number, *rest: Any, **facts: Any) -> Any:
        fatal = {"chunk": (0, 3), "fit": 0, "write": 0}.get(stage, 3)
        if (tasks.stage, number) == (stage, fatal):
            raise SystemExit("killed")
        return mark(tasks, number, *rest, **facts)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Tasks, "mark", killed)
        synthesize(tmp_path / "a")
    # Another corpus, of fewer parts.
    made = [" ".join(f"w{n}x{m % 97}" for m in range(3000)) for n in range(60)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in made))
    options: dict[str, Any] = {"inputs": path, "num_sequences": 4, "min_meta_chunks": 1}
    options |= {"max_score": None, "max_containment": None, "long_documents": "pass"}
    calls = [0]

    def embed(texts: list[str]) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise ConnectionError("the server is away")
        return np.array([[text.count(letter) for letter in "etaoinshrdlu"] for text in texts])

    with pytest.raises(nl.EmbeddingError, match="the server is away"):
        synthesize(tmp_path / "a", embedder=embed, **options)
    synthesize(tmp_path / "a", embedder=embed, **options)
    synthesize(tmp_path / "b", embedder=embed, **options)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_full_disk_is_one_error_and_the_restart_goes_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the first that passes it fails."""
    code = (
        "import resource, sys, nextlong_rs as nl\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    nl.synthesize(nl.sample_corpus(), output=sys.argv[1], tokenizer=nl.sample_tokenizer(),"
        " seq_len=4096, num_sequences=40, progress=False)\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "File too large" in shown
    assert not list((tmp_path / "a").rglob("*.tmp"))
    synthesize(tmp_path / "a")
    synthesize(tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_second_process_is_refused_by_name_and_a_dead_one_is_not(tmp_path: Path) -> None:
    from nextlong_rs.run.directory import Run

    run = Run(tmp_path / "out")
    with run.lock():
        with pytest.raises(nl.RunError, match=r"is locked by process \d+ on .*, since"):
            synthesize(tmp_path / "out")
    # What a killed process leaves: its name in the file, and no lock.
    (run.work / "lock").write_text('{"pid": 1, "host": "elsewhere", "started": "before"}')
    assert len(synthesize(tmp_path / "out")) == 40


def test_resume_off_starts_over(tmp_path: Path, work: list[str]) -> None:
    synthesize(tmp_path)
    with pytest.raises(nl.RunError, match="overwrite"):
        synthesize(tmp_path, resume=False)
    before = digest(tmp_path)
    work.clear()
    synthesize(tmp_path, resume=False, overwrite=True)
    assert {"chunk_part", "_tokenize", "_write"} <= set(work)
    assert digest(tmp_path) == before


def test_status_says_where_a_run_stands(tmp_path: Path) -> None:
    with pytest.raises(nl.RunError, match="no run is there"):
        status(tmp_path)
    synthesize(tmp_path / "out")
    found = status(tmp_path / "out")
    assert found.state == "finished"
    assert found.stages["chunk"] == (1, 1)
    assert "finished" in str(found)
    (tmp_path / "out/manifest.json").unlink()
    shown = subprocess.run(
        [sys.executable, "-m", "nextlong_rs.cli", "status", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "stopped" in shown
    assert "goes on" in shown


def test_an_input_that_kept_its_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    lines = [json.dumps({"text": f"w{n} " * 900}) for n in range(80)]
    path.write_text("\n".join(lines))
    stamp = path.stat()
    options: dict[str, Any] = {"inputs": path, "num_sequences": 2, "min_meta_chunks": 1}
    options |= {"max_score": None, "max_containment": None, "seq_len": 2048}
    synthesize(tmp_path / "out", **options)
    lines[0] = lines[0].replace("w0", "v0")
    path.write_text("\n".join(lines))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_size == stamp.st_size
    with pytest.raises(nl.RunError, match="made with other inputs"):
        synthesize(tmp_path / "out", **options)
    synthesize(tmp_path / "out", overwrite=True, **options)
    assert any("inputs" in note for note in notes(tmp_path / "out"))


def test_a_function_is_known_by_its_code() -> None:
    def made(width: int, text: str = "a") -> Any:
        def embed(texts: list[str]) -> Any:
            return np.array([[len(one), width, one.count(text)] for one in texts], dtype=float)

        return embed

    def other(texts: list[str]) -> Any:
        return np.array([[len(one), 1, one.count("b")] for one in texts], dtype=float)

    assert identity(made(1)) == identity(made(1))
    found = [identity(made(1)), identity(made(2)), identity(made(1, "b")), identity(other)]
    assert len({*found}) == len(found)
    assert None not in found


class Scaled:
    """An embedder with settings of its own."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, texts: list[str]) -> Any:
        return np.array([[len(one) * self.scale, 1.0] for one in texts])

    def embed(self, texts: list[str]) -> Any:
        return self(texts)


class Other(Scaled):
    def __call__(self, texts: list[str]) -> Any:
        return np.array([[len(one) + self.scale, 1.0] for one in texts])


def test_objects_methods_and_partials_are_known_by_their_code_and_values() -> None:
    def embed(width: int, texts: list[str], *, more: int = 0) -> Any:
        return np.array([[len(one), width + more] for one in texts], dtype=float)

    def all_of() -> list[Any]:
        return [
            Scaled(1.0),
            Scaled(2.0),
            Other(1.0),
            Scaled(1.0).embed,
            Scaled(2.0).embed,
            functools.partial(embed, 1),
            functools.partial(embed, 2),
            functools.partial(embed, 1, more=3),
        ]

    found = [identity(one) for one in all_of()]
    assert found == [identity(one) for one in all_of()]
    assert len({*found}) == len(found)
    assert None not in found
    # Made of C code alone: known by its name.
    assert identity(functools.partial(len)) is None
    assert identity(len) is None


def test_a_run_whose_chunks_are_used_up_goes_on_the_same_way(tmp_path: Path) -> None:
    options = {"num_sequences": 120, "seq_len": 16384, "max_reuse": 1, "dim": 64}
    whole = synthesize(tmp_path / "whole", threads=1, **options)
    made = whole.manifest["summary"]["sequences"]
    assert made["no_chunks_left"] > 0, made
    tried = made["made"] + made["dropped_short"] + made["long_skipped"] + made["no_chunks_left"]
    assert tried == made["eligible_documents"]
    similar = whole.manifest["summary"]["similarity"]
    notes = json.loads((tmp_path / "whole/work/measured.json").read_text())["notes"]
    told = any("negatives in the last 10 % of the sequences are weak" in note for note in notes)
    assert told == (similar["last_sequences"] < similar["first_sequences"] / 2), similar
    waves_made = len(list((tmp_path / "whole/work/_done/mine").glob("0*.json")))
    assert waves_made > 2
    for first in (1, waves_made - 1):
        again = tmp_path / f"again-{first}"
        shutil.copytree(tmp_path / "whole", again)
        for number in range(first, waves_made):
            (again / f"work/_done/mine/{number:05}.json").unlink()
        (again / "manifest.json").unlink()
        synthesize(again, threads=3, **options)
        assert digest(again) == digest(tmp_path / "whole")
        kept = [path.name for path in sorted((again / "work/mine").glob("*.arrow"))]
        assert kept == [f"part-{number:05}.arrow" for number in range(waves_made)]


def test_last_sequences_that_took_what_is_left_are_told() -> None:
    told = hardly_alike({"first_sequences": 0.71, "last_sequences": 0.1}, 1517)
    assert told is not None
    assert "0.10, 0.71 in the first" in told
    none_last = {"first_sequences": 0.7, "last_sequences": None}
    assert hardly_alike(none_last, 1517) is None
    assert hardly_alike({"first_sequences": 0.7, "last_sequences": 0.36}, 1517) is None
    assert hardly_alike({"first_sequences": 0.7, "last_sequences": 0.1}, 19) is None
    assert hardly_alike({}, 100) is None
