"""Settings: frozen, checked, readable from three kinds of file, one set of rules."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextlong_rs import ConfigError, Settings
from nextlong_rs.settings import PAPER, parse_count


def test_an_unknown_setting_is_refused_with_the_closest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'max_reus', did you mean 'max_reuse'"):
        Settings.of(max_reus=3)


def test_a_config_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="seq_len is 3, expected at least 16"):
        Settings(seq_len=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"range_min": 5, "range_max": 5}, "range_max .5. must be larger than range_min .5."),
        ({"min_score": 0.9, "max_score": 0.1}, "min_score .0.9. must not be larger"),
        ({"index": "faiss"}, "index is 'faiss', expected one of"),
        ({"placement": "middle"}, "placement|middle"),
        ({"max_error_rate": 1.5}, "max_error_rate is 1.5"),
        ({"dim": 0}, "dim is 0, expected at least 1"),
        ({"dim": 5000}, "dim is 5000, expected at most 4096"),
        ({"id_column": ""}, 'id_column is "", expected the name of a column'),
        ({"score_column": ""}, 'score_column is ""'),
        ({"mine": {"max_reuse": 3}}, "'mine' is a table; the settings stand beside each other"),
        ({"num_sequences": 0}, "num_sequences is 0"),
        ({"seq_len": "many"}, "'many' is no count"),
        ({"max_containment": float("nan")}, "settings"),
        ({"mode": "fast"}, "mode is 'fast'"),
    ],
)
def test_a_wrong_value_is_refused_by_name(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.of(**wrong)


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
