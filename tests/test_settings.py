"""Settings: frozen, checked, readable from three kinds of file, one set of rules."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nextlong_rs as nl
from nextlong_rs import ConfigError, Settings, _nextlong
from nextlong_rs.options import Options
from nextlong_rs.settings import PAPER, parse_count


def test_an_unknown_setting_is_refused_with_the_closest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown setting `max_reus`; hint: did you mean `max_reuse`\?"
    ):
        Settings.of(max_reus=3)


def test_a_config_error_is_a_value_error() -> None:
    with pytest.raises(
        ValueError, match="invalid `seq_len`: 3, expected a whole number from 16 to 268435456"
    ):
        Settings(seq_len=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"range_min": 5, "range_max": 5},
            "invalid `range_max`: 5, expected more than `range_min` .5.",
        ),
        (
            {"min_score": 0.9, "max_score": 0.1},
            "invalid `min_score`: 0.9, expected at most `max_score` .0.1.",
        ),
        ({"index": "faiss"}, "invalid `index`: 'faiss', expected 'auto' or 'exhaustive' or"),
        (
            {"placement": "middle"},
            "invalid `placement`: 'middle', expected 'head' or 'tail' or 'random'",
        ),
        ({"max_error_rate": 1.5}, "invalid `max_error_rate`: 1.5, expected a number from 0 to 1"),
        ({"dim": 0}, "invalid `dim`: 0, expected a whole number from 1 to 4096"),
        ({"dim": 5000}, "invalid `dim`: 5000, expected a whole number from 1 to 4096"),
        ({"id_column": ""}, "invalid `id_column`: '', expected the name of a column, or None"),
        ({"score_column": ""}, "invalid `score_column`: ''"),
        (
            {"mine": {"max_reuse": 3}},
            "unknown setting `mine`: a table, expected the settings without nesting",
        ),
        (
            {"num_sequences": 0},
            "invalid `num_sequences`: 0, expected a whole number from 1 to .*, or None",
        ),
        ({"seq_len": "many"}, "invalid count 'many'"),
        ({"max_containment": float("nan")}, "invalid `max_containment`: nan, expected a number"),
        ({"seq_len": 2**40}, "invalid `seq_len`: 1099511627776, expected"),
        ({"seed": 2**70}, "invalid `seed`: 1180591620717411303424, expected"),
        ({"num_sequences": 2**200}, "invalid `num_sequences`: 16069"),
        ({"seq_len": True}, "invalid `seq_len`: True"),
        ({"chunk_size": 64.0}, "invalid `chunk_size`: 64.0"),
        ({"exclude_same_doc": 1}, "invalid `exclude_same_doc`: 1, expected True or False"),
        ({"bos": -1}, "invalid `bos`: -1"),
        ({"text_column": "a\ud800"}, "invalid `text_column`"),
        ({"mode": "fast"}, "invalid `mode`: 'fast'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.of(**wrong)


def test_one_rule_has_one_message_at_every_door() -> None:
    vectors = np.eye(4, dtype=np.float32)
    doors: list[tuple[str, Any, Callable[[Any], object]]] = [
        ("seed", -1, lambda value: nl.Embedder.fit(["a b"], seed=value)),
        ("seed", -1, lambda value: nl.knn(vectors, 2, seed=value)),
        ("seed", -1, lambda value: nl.Index.build(vectors, seed=value)),
        ("dim", 0, lambda value: nl.Embedder.fit(["a b"], dim=value)),
        ("idf_power", 9.0, lambda value: nl.Embedder.fit(["a b"], idf_power=value)),
        ("boilerplate_share", 2.0, lambda value: nl.Embedder.fit(["a"], boilerplate_share=value)),
        ("index", "faiss", lambda value: nl.knn(vectors, 2, index=value)),
        ("min_recall", 2, lambda value: nl.knn(vectors, 2, min_recall=value)),
    ]
    for name, value, door in doors:
        with pytest.raises(ConfigError) as by_settings:
            Settings.of(**{name: value})
        with pytest.raises(ConfigError) as by_door:
            door(value)
        assert str(by_settings.value) == str(by_door.value)
    with pytest.raises(ConfigError, match="invalid `size`: 0, expected a whole number from 1"):
        nl.chunk("a", size=0)
    with pytest.raises(ConfigError, match="invalid `mode`: 'x', expected 'lossless' or 'paper'"):
        nl.chunk("a", mode="x")  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    settings = Settings.of(
        seq_len=np.int64(4096), min_score=np.float32(0.5), exclude_same_doc=np.bool_(False)
    )
    assert settings == Settings(seq_len=4096, min_score=0.5, exclude_same_doc=False)
    assert json.loads(settings.to_json())["seq_len"] == 4096
    size: Any = np.int64(3)
    assert nl.chunk("ab\ncd", size=size) == nl.chunk("ab\ncd", size=3)


def test_every_setting_has_a_rule_and_a_typed_keyword() -> None:
    rules = dict(_nextlong.setting_rules())
    hints = get_type_hints(Settings)
    assert set(hints) <= set(rules)
    typed = get_type_hints(Options)
    assert typed.pop("mode") == Literal["default", "paper"] | None
    assert typed.pop("seq_len") == int | str
    assert typed.pop("num_sequences") == int | str | None
    for name, hint in typed.items():
        assert hint == hints[name], name
    assert set(hints) - set(typed) == {"embedder", "seq_len", "num_sequences"}
    for name, hint in hints.items():
        kinds = get_args(hint) or (hint,)
        words = [word for word in kinds if isinstance(word, str)]
        if words:
            assert rules[name] == " or ".join(map(repr, words)), name
        assert rules[name].endswith(", or None") == (type(None) in kinds), name


def test_settings_are_frozen_and_saved_whole() -> None:
    settings = Settings.of(seq_len="64k", seed=7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 8  # type: ignore[misc]
    assert settings.seq_len == 65_536
    assert Settings.of(**json.loads(settings.to_json())) == settings


def test_the_paper_mode_is_a_set_of_settings_and_other_keywords_win() -> None:
    paper = Settings.of(mode="paper", max_reuse=5)
    assert paper.chunk_mode == "paper"
    assert paper.max_reuse == 5
    assert set(PAPER) <= set(paper.to_dict())


def test_one_file_in_three_formats(tmp_path: Path) -> None:
    expected = Settings.of(seq_len=4096, max_score=0.8, placement="tail", num_sequences=3)
    toml = tmp_path / "run.toml"
    toml.write_text('seq_len = "4k"\nmax_score = 0.8\nplacement = "tail"\nnum_sequences = 3\n')
    yaml = tmp_path / "run.yaml"
    yaml.write_text("seq_len: 4k\nmax_score: 0.8\nplacement: tail\nnum_sequences: 3\n")
    saved = tmp_path / "manifest.json"
    saved.write_text(json.dumps({"settings": expected.to_dict()}))
    for path in (toml, yaml, saved):
        assert Settings.load(path) == expected


def test_a_file_that_is_no_settings_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("seq_len = = 3")
    with pytest.raises(ConfigError, match="run.toml"):
        Settings.load(path)
    with pytest.raises(ConfigError, match="missing.json"):
        Settings.load(tmp_path / "missing.json")


@given(st.integers(0, 10**12))
def test_a_count_is_read_with_and_without_a_unit(count: int) -> None:
    assert parse_count(str(count)) == count
    assert parse_count(f"{count}k") == count * 1024
    assert parse_count(f"{count}M") == count * 1024 * 1024
