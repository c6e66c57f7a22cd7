"""The whole run on the sample corpus: what comes out, whatever the threads; and what stops it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import nextlong_rs as nl
from nextlong_rs import _nextlong
from nextlong_rs.cli import main

SMALL: dict[str, Any] = {"seq_len": 8192, "num_sequences": 12, "seed": 3, "dim": 64}


def synthesize(output: Path, **changes: Any) -> nl.Result:
    """A small run over the sample corpus."""
    options: dict[str, Any] = {**SMALL, "progress": False, **changes}
    inputs = options.pop("inputs", nl.sample_corpus())
    tokenizer = options.pop("tokenizer", nl.sample_tokenizer())
    return nl.synthesize(inputs, output, tokenizer=tokenizer, **options)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> nl.Result:
    return synthesize(tmp_path_factory.mktemp("run") / "out")


def digest(folder: Path) -> dict[str, str]:
    """The hash of every file of a run that is not a measurement of the machine."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in ("measured.json", "lock") and "_done" not in path.parts
    }


def rows(result: nl.Result) -> list[dict[str, Any]]:
    return [row for file in result.files for row in pq.read_table(file).to_pylist()]


def sample_documents() -> dict[str, str]:
    import zstandard

    data = zstandard.ZstdDecompressor().stream_reader(nl.sample_corpus().open("rb")).read()
    found = [json.loads(line) for line in data.decode().splitlines()]
    return {row["id"]: row["text"] for row in found}


def test_every_sequence_has_exactly_seq_len_tokens(result: nl.Result) -> None:
    sequences = rows(result)
    assert len(sequences) == len(result) == 12
    for number, row in enumerate(sequences):
        assert len(row["input_ids"]) == row["length"] == 8192
        assert row["seq_lengths"] == [8192]
        assert row["seq_start_id"] == [0]
        assert row["sequence_id"] == number
        assert row["strategy"] == "nextlong"


def test_the_spans_decode_to_the_source_text(result: nl.Result) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(nl.sample_tokenizer()))
    documents = sample_documents()
    for row in rows(result):
        ends = [*row["span_token_start"][1:], row["length"]]
        for at, end in enumerate(ends):
            ids = row["input_ids"][row["span_token_start"][at] : end]
            if row["span_role"][at] == 2:
                continue
            text = documents[row["span_doc_id"][at]]
            source = text[row["span_char_start"][at] : row["span_char_end"][at]]
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            if row["span_role"][at] == 1:  # the last may be cut, even inside a character
                decoded = decoded.rstrip("\N{REPLACEMENT CHARACTER}")
            assert decoded == source


def test_meta_chunks_survive_in_order_and_negatives_keep_the_rules(result: nl.Result) -> None:
    uses: Counter[tuple[str, int]] = Counter()
    documents = sample_documents()
    for row in rows(result):
        spans = list(
            zip(
                row["span_role"],
                row["span_doc_id"],
                row["span_chunk"],
                row["span_score"],
                row["span_meta"],
                row["span_char_end"],
                strict=True,
            )
        )
        metas = [span for span in spans if span[0] == 0]
        assert [span[2] for span in metas] == list(range(len(metas)))
        assert len(metas) >= 2
        assert {span[1] for span in metas} == {row["meta_doc_id"]}
        assert metas[-1][5] == len(documents[row["meta_doc_id"]])
        negatives = [(span[1], span[2]) for span in spans if span[0] == 1]
        assert len(set(negatives)) == len(negatives)
        assert row["meta_doc_id"] not in {document for document, _ in negatives}
        # Head placement: a meta-chunk comes before its negatives, in turn.
        groups = [span[4] for span in spans if span[0] != 2]
        assert groups == sorted(groups)
        # By falling similarity within each group.
        for meta in set(groups):
            scores = [span[3] for span in spans if span[0] == 1 and span[4] == meta]
            assert scores == sorted(scores, reverse=True)
        uses.update(negatives)
    assert max(uses.values()) <= 8


def test_one_bos_first_and_one_eos_last_and_none_inside(result: nl.Result) -> None:
    special = json.loads((result.path / "manifest.json").read_text())["tokenizer"]
    for row in rows(result):
        ids = row["input_ids"]
        assert ids[0] == special["bos"]
        assert ids[-1] == special["eos"]
        assert ids.count(special["eos"]) == ids.count(special["bos"]) == 1


@pytest.mark.parametrize("threads", [2, 4])
def test_the_bytes_do_not_depend_on_the_threads(
    threads: int, result: nl.Result, tmp_path: Path
) -> None:
    one = synthesize(tmp_path / "one", threads=1)
    many = synthesize(tmp_path / "many", threads=threads)
    assert digest(one.path) == digest(many.path)
    assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in one.files] == [
        hashlib.sha256(file.read_bytes()).hexdigest() for file in result.files
    ]


def test_the_saved_settings_repeat_the_run(result: nl.Result, tmp_path: Path) -> None:
    settings = nl.Settings.load(result.path / "manifest.json")
    again = nl.synthesize(
        nl.sample_corpus(),
        tmp_path / "out",
        tokenizer=nl.sample_tokenizer(),
        settings=settings,
        progress=False,
    )
    assert [file.read_bytes() for file in again.files] == [
        file.read_bytes() for file in result.files
    ]


def test_recall_is_measured_and_reported(result: nl.Result) -> None:
    retrieval = result.manifest["summary"]["retrieval"]
    assert retrieval["engine"] == "exact"
    assert retrieval["recall"] >= 0.95
    by_depth = retrieval["recall_by_depth"]
    lists = sum(one["lists"] for one in by_depth.values())
    assert lists == result.manifest["summary"]["sequences"]["meta_chunks"]
    mean = sum(one["lists"] * one["recall"] for one in by_depth.values()) / lists
    assert retrieval["recall"] == pytest.approx(mean, abs=1e-3)


def test_only_used_chunks_are_tokenized(result: nl.Result) -> None:
    used = {
        (document, chunk)
        for row in rows(result)
        for role, document, chunk in zip(
            row["span_role"], row["span_doc_id"], row["span_chunk"], strict=True
        )
        if role != 2
    }
    sequences = result.manifest["summary"]["sequences"]
    assert len(used) <= sequences["chunks_tokenized"]
    # Long documents are measured before they are skipped; what that took is counted.
    assert sequences["chunks_tokenized"] <= len(used) + sequences["tokenized_unused"]
    assert sequences["tokenized_unused"] <= len(used) * 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "paper", "num_sequences": 5},
        {"placement": "tail"},
        {"placement": "random", "sampling_strategy": "random"},
        {"index": "hnsw"},
        {"collisions": "first-come", "max_reuse": 1, "num_sequences": 4},
        {"chunk_unit": "tokens", "chunk_size": 256},
        {"bos": None, "eos": None, "chunk_separator": ""},
        {"absolute_margin": 0.05, "relative_margin": 0.1, "num_sequences": 3},
        {"range_min": 2, "range_max": 400, "min_score": 0.02, "max_per_doc": 6},
        {"long_documents": "pass", "seq_len": 2048},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_every_setting_makes_whole_sequences(changes: dict[str, Any], tmp_path: Path) -> None:
    made = synthesize(tmp_path / "out", **changes)
    sequences = rows(made)
    assert sequences
    expected = changes.get("seq_len", 8192)
    assert {len(row["input_ids"]) for row in sequences} == {expected}


def test_inputs_of_every_kind_give_the_same_sequences(tmp_path: Path) -> None:
    import datasets
    import pyarrow as pa

    documents = sample_documents()
    table = pa.table({"id": list(documents), "text": list(documents.values())})
    mappings = [{"id": key, "text": text} for key, text in documents.items()]
    pq.write_table(table, tmp_path / "corpus.parquet", row_group_size=50)
    lines = "".join(json.dumps(row) + "\n" for row in mappings)
    (tmp_path / "corpus.jsonl").write_text(lines)
    kinds: dict[str, Any] = {
        "jsonl": tmp_path / "corpus.jsonl",
        "parquet": tmp_path / "corpus.parquet",
        "table": table,
        "iterable": iter(mappings),
        "dataset": datasets.Dataset.from_list(mappings),
    }
    found = {
        kind: [
            row["input_ids"]
            for row in rows(synthesize(tmp_path / kind, inputs=value, num_sequences=3))
        ]
        for kind, value in kinds.items()
    }
    assert all(ids == found["jsonl"] for ids in found.values())


def test_a_bad_line_is_quarantined_and_too_many_stop_the_run(tmp_path: Path) -> None:
    documents = sample_documents()
    lines = [json.dumps({"id": key, "text": text}) for key, text in documents.items()]
    lines.insert(7, '{"text": broken')
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(lines))
    made = synthesize(tmp_path / "out", inputs=path, num_sequences=2)
    (bad,) = [
        json.loads(line)
        for line in (made.path / "work" / "quarantine.jsonl").read_text().splitlines()
    ]
    assert bad["row"] == 8
    assert "corpus.jsonl" in bad["file"]
    assert made.manifest["summary"]["corpus"]["quarantined"] == 1
    path.write_text("\n".join(["nonsense"] * 200 + lines))
    with pytest.raises(nl.CorpusError, match="max_error_rate"):
        synthesize(tmp_path / "stopped", inputs=path)
    assert not (tmp_path / "stopped" / "manifest.json").exists()


def test_a_callable_embedder_is_called_on_the_main_thread(tmp_path: Path) -> None:
    import numpy as np

    threads = set()

    def embed(texts: list[str]) -> Any:
        threads.add(threading.current_thread())
        lengths = np.array([[len(text), text.count("e"), text.count("a"), 1] for text in texts])
        return lengths.astype(np.float32)

    made = synthesize(tmp_path / "out", embedder=embed, num_sequences=2, max_score=None)
    assert len(made) == 2
    assert threads == {threading.main_thread()}


def test_a_finished_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    synthesize(tmp_path / "out", num_sequences=1)
    with pytest.raises(nl.RunError, match="overwrite"):
        synthesize(tmp_path / "out", num_sequences=3)
    assert len(synthesize(tmp_path / "out", num_sequences=2, overwrite=True)) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(nl.RunError, match="was not created by a run"):
        synthesize(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_documents_of_the_same_id_are_told_apart(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(nl.sample_tokenizer()))
    documents = [{"id": "same", "text": text} for text in sample_documents().values()]
    made = synthesize(tmp_path / "out", inputs=iter(documents), num_sequences=2)
    for number, row in enumerate(rows(made)):
        spans = made.explain(number).spans
        assert all(span.text and span.source for span in spans)
        for span in spans:
            tokens = row["input_ids"][span.token_start : span.token_start + span.tokens]
            assert span.text is not None
            assert ids.decode(tokens).strip() in span.text


def test_vectors_of_a_parquet_column_are_those_of_the_chunks(tmp_path: Path) -> None:
    import pyarrow as pa

    first = synthesize(tmp_path / "first", num_sequences=3)
    parts = sorted((first.path / "work" / "embed").glob("part-*.npy"))
    vectors = np.concatenate([np.load(part) for part in parts]).astype(np.float32)
    pq.write_table(pa.table({"v": list(vectors)}), tmp_path / "v.parquet", row_group_size=300)
    made = synthesize(tmp_path / "out", num_sequences=3, embedder=f"{tmp_path}/v.parquet:v")
    assert [row["input_ids"] for row in rows(made)] == [row["input_ids"] for row in rows(first)]


def test_the_report_says_whether_the_vectors_and_negatives_are_good(result: nl.Result) -> None:
    summary = result.manifest["summary"]
    own = summary["embedding"]["same_document"]
    assert own["recall"] > 0.5 > 10 * own["by_chance"]
    scores = [
        score
        for row in rows(result)
        for score, role in zip(row["span_score"], row["span_role"], strict=True)
        if role == 1
    ]
    measured = summary["similarity"]
    assert measured["negatives"] == pytest.approx(np.mean(scores), abs=1e-3)
    assert measured["first_negative"] > measured["last_negative"] > measured["random_chunk"] + 0.1
    assert measured["own_next_chunk"] > measured["random_chunk"] + 0.1
    assert summary["refused_neighbours"]["same_document"] > 0


def test_same_document_recall_is_that_of_its_definition(result: nl.Result) -> None:
    work = result.path / "work"
    chunks = sorted((work / "chunks").glob("part-*.arrow"))
    store, stored = _nextlong.ChunkStore(chunks), sorted((work / "embed").glob("part-*.npy"))
    vectors = _nextlong.Vectors(stored)
    picked = np.arange(0, len(store), 7)
    told = json.loads(_nextlong.same_document(store, vectors, picked, 10, 2, _nextlong.Watch()))
    values, owner = vectors.read(0, len(store)), store.documents()
    shares, chances = [], []
    for row in picked:
        siblings = int((owner == owner[row]).sum()) - 1
        if siblings == 0:
            continue
        scores = values @ values[row]
        scores[row] = -np.inf
        hits = int((owner[np.argsort(-scores)[:10]] == owner[row]).sum())
        shares.append(hits / min(siblings, 10))
        chances.append(10 * siblings / (len(store) - 1) / min(siblings, 10))
    assert told["chunks"] == len(shares)
    assert told["recall"] == pytest.approx(np.mean(shares), abs=0.005)
    assert told["by_chance"] == pytest.approx(np.mean(chances))


@pytest.mark.parametrize("length", ["exact", "paper"])
def test_a_corpus_of_documents_that_are_all_too_long_says_so(length: str, tmp_path: Path) -> None:
    options = {"seq_len": 16, "chars_per_token": 0.05, "length": length, "min_meta_chunks": 1}
    with pytest.raises(nl.RunError, match="244 are longer than `seq_len`"):
        synthesize(tmp_path / "out", **options)
    passed = synthesize(tmp_path / "passed", long_documents="pass", **options)
    assert {len(row["input_ids"]) for row in rows(passed)} == {16}


def test_a_run_without_a_sequence_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(nl.RunError, match=r"no sequences produced from 244 .* 221 had too few"):
        synthesize(tmp_path / "out", min_score=0.999, max_score=None)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_the_result_reads_with_datasets_polars_and_duckdb(result: nl.Result) -> None:
    import datasets
    import duckdb
    import polars

    pattern = str(result.path / "*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=pattern, split="train")
    assert len(loaded) == len(result.to_dataset()) == 12
    assert len(polars.read_parquet(pattern)) == 12
    query = f"select count(*), min(len(input_ids)) from '{pattern}'"
    (counted,) = duckdb.sql(query).fetchall()
    assert counted == (12, 8192)


def test_the_result_explains_itself(result: nl.Result) -> None:
    text = str(result)
    assert "12" in text
    assert "recall" in text
    explained = str(result.explain(0))
    assert rows(result)[0]["meta_doc_id"] in explained


def test_the_command_line_makes_and_shows_sequences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    options = ["--seq-len", "4k", "--num-sequences", "2", "--no-progress", "--dim", "32"]
    assert main(["synthesize", "--sample", "-o", out, *options, "--max-score", "none"]) == 0
    assert "sequences" in capsys.readouterr().out
    assert main(["inspect", out, "-n", "1"]) == 0
    assert "meta" in capsys.readouterr().out
    assert main(["synthesize", "--sample", "-o", out, "--dim", "none"]) == 2
    assert main(["synthesize", "nowhere", "-o", out, "--tokenizer", "x.json"]) in (1, 2)
    assert "nowhere" in capsys.readouterr().err


def test_another_python_thread_keeps_running(tmp_path: Path) -> None:
    gaps: list[float] = []
    done = threading.Event()

    def beat() -> None:
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    heart = threading.Thread(target=beat)
    heart.start()
    begun = time.perf_counter()
    try:
        synthesize(tmp_path / "out", threads=1)
    finally:
        done.set()
        heart.join()
    # A call that held the GIL would show as one gap as long as a stage.
    assert max(gaps) < (time.perf_counter() - begun) / 2
    assert len(gaps) > 10


ALONE = """
import json, sys, time
import nextlong_rs as nl
for index in ("exact", "clustered", "hnsw"):
    wall, cpu = time.perf_counter(), time.process_time()
    nl.synthesize(sys.argv[2], f"{sys.argv[1]}/{index}", tokenizer=nl.sample_tokenizer(), threads=1,
                  seq_len=8192, num_sequences=100, progress=False, index=index)
    print((time.process_time() - cpu) / (time.perf_counter() - wall))
"""


def test_one_thread_is_one_thread(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(4):
        (corpus / f"{number}.jsonl.zst").write_bytes(nl.sample_corpus().read_bytes())
    script = [sys.executable, "-c", ALONE, str(tmp_path), str(corpus)]
    shares = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    assert len(shares) == 3
    # Hidden threads would take more seconds of processors than the clock shows.
    assert all(float(share) < 1.2 for share in shares), shares


INTERRUPTED = """
import _thread, signal, sys, threading, time
import nextlong_rs as nl
from nextlong_rs.stage import context
signal.signal(signal.SIGINT, signal.default_int_handler)
begun = []
class Bar(context.Bar):
    def __init__(self, stage, *rest, **options):
        super().__init__(stage, *rest, **options)
        if stage == sys.argv[2]:
            def interrupt():
                begun.append(time.perf_counter())
                _thread.interrupt_main()
            threading.Timer(0.02, interrupt).start()
context.Bar = Bar
try:
    nl.synthesize(sys.argv[3], sys.argv[1], tokenizer=nl.sample_tokenizer(),
                  seq_len=65536, progress=False, index="hnsw", max_score=None, max_containment=None)
    time.sleep(1)
except KeyboardInterrupt:
    print(time.perf_counter() - begun[0])
"""


@pytest.mark.parametrize("stage", ["chunk", "fit", "embed", "index", "mine"])
def test_ctrl_c_ends_any_stage_soon_and_leaves_no_partial_file(stage: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(12):
        (corpus / f"{number}.jsonl.zst").write_bytes(nl.sample_corpus().read_bytes())
    script = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "out"), stage, str(corpus)]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert float(ended.stdout or "nan") < 1, ended.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").glob("*.parquet"))
    # What a stage had finished is whole: it opens.
    chunks = sorted((tmp_path / "out" / "work" / "chunks").glob("*.arrow"))
    assert len(_nextlong.ChunkStore(chunks)) >= 0


def test_the_import_is_light() -> None:
    script = "import sys, nextlong_rs; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    modules = set(loaded.stdout.split())
    assert not modules & {"numpy", "pyarrow", "datasets", "tokenizers", "tqdm", "torch"}


@pytest.mark.parametrize("name", ["chunk", "estimate", "synthesize"])
def test_a_public_function_is_not_hidden_by_the_module_of_its_name(name: str) -> None:
    script = f"""if True:
        import nextlong_rs.{name}
        from nextlong_rs import {name}
        from nextlong_rs.{name} import {name} as own
        import nextlong_rs as nl

        assert callable(own)
        assert nl.{name} is own is {name}
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_public_name_is_there() -> None:
    assert all(hasattr(nl, name) for name in nl.__all__)
