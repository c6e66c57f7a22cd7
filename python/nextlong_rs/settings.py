"""The settings of a run: everything that decides its bytes, in one frozen object."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from nextlong_rs import _nextlong
from nextlong_rs.errors import ConfigError, MissingExtraError
from nextlong_rs.rules import checked

__all__ = ["PAPER", "Settings", "parse_count"]

PAPER: dict[str, Any] = {
    "chunk_mode": "paper",
    "length": "paper",
    "min_meta_chunks": 1,
    "collisions": "first-come",
    "max_score": None,
    "max_containment": None,
    "max_reuse": None,
}
"""What `mode="paper"` sets: the published method to the letter (arXiv 2501.12766, section 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting that decides the bytes of a run.

    The rules are checked when the object is made; `ConfigError` names the setting, its value and
    what was expected. Threads, progress and folders are arguments of the calls: they change no byte.
    """

    seq_len: int = 131_072
    """Tokens in a sequence, special tokens included."""
    num_sequences: int | None = None
    """Sequences to make; None makes one of every document that can be one."""
    seed: int = 0
    """Seed of every random choice."""

    # corpus
    text_column: str = "text"
    """The field that holds a document's text."""
    id_column: str | None = None
    """The field that holds its id, which must then be there; None takes `id` where it is present
    and makes ids elsewhere."""
    score_column: str | None = None
    """A field of numbers ≥ 0: how likely a document is to be chosen as meta-document. One without
    it, or with 0, is never chosen, but gives negatives."""
    source_column: str | None = None
    """A field that names where a document comes from (text, number or boolean): the summary reports
    each of its values as a group. Documents without it are the group `(none)`."""
    max_document_bytes: int = 256 << 20
    """Maximum bytes of a text; a longer one goes to the quarantine file."""
    max_error_rate: float = 0.01
    """Maximum share of unusable rows; above it the run stops."""

    # chunk (method.md, "The algorithm", 1)
    chunk_size: int = 2048
    """Maximum size of a chunk, in `chunk_unit`; 2048 characters is the paper's best."""
    chunk_unit: Literal["chars", "tokens"] = "chars"
    """What `chunk_size` counts."""
    chunk_mode: Literal["lossless", "paper"] = "lossless"
    """`lossless` loses nothing and splits over-long lines; `paper` is the authors' function."""

    # embed
    embedder: str = "lsa"
    """`lsa`, the path of a saved `Embedder`, of a model2vec folder or of precomputed embeddings (.npy,
    or `FILE.parquet:COLUMN`)."""
    dim: int = 256
    """Dimensions of the LSA vectors."""
    idf_power: float = 1.5
    """The power of the inverse document frequency in the LSA's weights."""
    fit_chunks: int = 50_000
    """How many chunks the LSA is fitted on at most, sampled by seed; languages that are a small part
    of the corpus take more, out of four times as many."""
    boilerplate_share: float = 0.01
    """Lines that more than this share of the documents contain (and at least 8 documents) are left
    out of the text that the LSA embeds, never out of the chunk; 1 leaves out none."""

    # index
    index: Literal["auto", "exhaustive", "exact", "clustered", "hnsw"] = "auto"
    """The retrieval engine: `exhaustive` compares all vectors in full precision, `exact` scans all in
    int8 and ranks the best again, `clustered` scans the most similar parts, `hnsw` is a graph; `auto`
    picks the cheapest of the last three from the size of the work."""
    min_recall: float = 0.95
    """Recall against exhaustive search at every depth that is searched, measured in every run; below
    it the search widens."""

    # mine (names as in sentence-transformers' `mine_hard_negatives` where it has one)
    range_min: int = 0
    """Skip this many of the nearest neighbours."""
    range_max: int | None = None
    """Consider neighbours up to this rank only. None has no limit with `sampling_strategy="top"`;
    with "random" it is 512 ranks, or more where a sequence needs more."""
    min_score: float | None = None
    """Minimum cosine similarity of a negative to its meta-chunk."""
    max_score: float | None = None
    """Maximum cosine similarity of a negative to its meta-chunk. What counts as a near-duplicate
    depends on the embedder, so that no value suits all; `max_containment` finds them by words."""
    absolute_margin: float | None = None
    """How much less similar than the positive (the most similar other chunk of the meta-chunk's
    own document) a negative must be."""
    relative_margin: float | None = None
    """The same as a share of the positive's similarity."""
    exclude_same_doc: bool = True
    """No negatives from the meta-document itself; the paper measured that they harm. With False its
    chunks may be negatives, once each in a sequence, and `max_containment` does not apply to them."""
    max_containment: float | None = 0.3
    """Maximum share of the distinct n-grams of a negative that other chunks of its sequence contain:
    all meta-chunks, and the other negatives. For each meta-chunk, the same limit holds for the share
    of its n-grams that the negatives contain. A candidate is refused if it or a chunk already
    selected would exceed the limit, or if its text is already there. From a `chunk_size` of 768
    characters on, chunks are compared by a fixed half of their n-grams, from 1,536 on by a quarter,
    and so on. None allows near-duplicates; then no chunk is a negative twice, but two chunks may
    have equal texts."""
    containment_words: int = 5
    """The n of these n-grams, in words. In scripts without spaces a word is one character (Chinese,
    Japanese) or about four (Thai, Lao, Khmer, Myanmar)."""
    num_negatives: int | None = None
    """Maximum number of negatives of a meta-chunk; None takes what the length needs."""
    max_reuse: int | None = 8
    """Maximum number of sequences in which a chunk is a negative; None has no limit."""
    max_per_doc: int | None = None
    """Maximum number of negatives of a sequence from one document; None has no limit."""
    sampling_strategy: Literal["top", "random"] = "top"
    """The most similar first, or a seeded uniform random order within the ranks from `range_min` to
    before `range_max`."""
    collisions: Literal["round-robin", "first-come"] = "round-robin"
    """Whether meta-chunks take turns, or the first takes all of its negatives first."""

    # assemble
    min_meta_chunks: int = 2
    """Minimum chunks per meta-document; with one chunk there is no dependency to stretch."""
    long_documents: Literal["skip", "pass"] = "skip"
    """Documents with more tokens than a sequence: skipped, or their first `seq_len` tokens become a
    sequence."""
    length: Literal["exact", "paper"] = "exact"
    """Exact token budget, or the paper's k, truncated or discarded."""
    chars_per_token: float = 4.0
    """E of the paper's length formula; the default rule uses it only to estimate."""
    length_factor: float = 1.5
    """w of the paper's length formula."""
    on_short: Literal["drop", "shorten"] = "drop"
    """A sequence that the rules do not let fill: dropped, or kept shorter."""
    placement: Literal["head", "tail", "random"] = "head"
    """Where a meta-chunk stands among its negatives; head is the paper's best."""
    chunk_separator: str = "\n"
    """What stands between two chunks: a text, `""` for nothing, or `"token:NAME"` for a token."""
    bos: str | int | None = "auto"
    """The token that begins a sequence: its text or id, None, or what the tokenizer names."""
    eos: str | int | None = "auto"
    """The token that ends a sequence; it never stands inside one, where trainers would cut."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = checked(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        _nextlong.Settings(self.to_json())

    @classmethod
    def of(cls, base: Settings | None = None, /, **given: Any) -> Settings:
        """Settings from keywords, on top of `base` where one is given.

        `mode="paper"` sets what the published method needs (see `PAPER`); other keywords win over
        it. Counts may be written `"128k"` or `"1M"`.

        Raises:
            ConfigError: An unknown setting (the closest one is named) or an invalid value.

        Example:
            >>> Settings.of(mode="paper", seq_len="64k").length
            'paper'
        """
        mode = given.pop("mode", None)
        if mode not in (None, "default", "paper"):
            raise ConfigError(f"invalid `mode`: {mode!r}, expected 'default' or 'paper'")
        names = [field.name for field in fields(cls)]
        for name in given:
            if name not in names and isinstance(given[name], Mapping):
                raise ConfigError(
                    f"unknown setting `{name}`: a table, expected the settings without nesting"
                )
            if name not in names:
                close = difflib.get_close_matches(name, [*names, "mode"], n=1)
                hint = f"; hint: did you mean `{close[0]}`?" if close else ""
                raise ConfigError(f"unknown setting `{name}`{hint}")
        for name in ("seq_len", "num_sequences"):
            if isinstance(given.get(name), str):
                given[name] = parse_count(given[name])
        changes = {**(PAPER if mode == "paper" else {}), **given}
        return replace(base, **changes) if base is not None else cls(**changes)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Settings:
        """Settings from a TOML, YAML or JSON file; a run's `manifest.json` repeats the run.

        Raises:
            ConfigError: A file that cannot be read as settings.
            MissingExtraError: YAML without PyYAML installed.
        """
        return cls.of(**read_settings(Path(path)))

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)

    def named(self, names: Iterable[str]) -> dict[str, Any]:
        """Some settings by name."""
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """All settings as one JSON object, the form in which they are saved with a run."""
        try:
            text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
            text.encode()
            return text
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"settings: {error}") from None


def described() -> dict[str, str]:
    """What each setting means, in one line: the docstrings that stand behind the fields."""
    import ast
    import inspect

    body = ast.parse(inspect.getsource(Settings)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, behind in itertools.pairwise(body.body):
        match field, behind:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that a TOML, YAML or JSON file holds, by name."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read `{path}`: {error}") from None
    try:
        if path.suffix == ".toml":
            import tomllib

            loaded: Any = tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            try:
                import yaml
            except ImportError:
                raise MissingExtraError(
                    "YAML settings need PyYAML: pip install 'nextlong_rs[yaml]'"
                ) from None
            loaded = yaml.safe_load(text)
        else:
            loaded = json.loads(text)
    except MissingExtraError:
        raise
    except Exception as error:
        raise ConfigError(f"cannot read `{path}`: {error}") from None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("settings"), Mapping):
        loaded = loaded["settings"]
    if not isinstance(loaded, Mapping):
        raise ConfigError(f"cannot read `{path}`: expected a table of settings")
    return {str(name): value for name, value in loaded.items()}


def parse_count(text: str) -> int:
    """A count such as `"131072"`, `"128k"` (× 1024) or `"1M"` (× 1024²).

    Example:
        >>> parse_count("128k")
        131072
    """
    units = {"k": 1 << 10, "m": 1 << 20}
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in units else (text, "")
    try:
        return int(digits.replace("_", "")) * units.get(unit, 1)
    except ValueError:
        raise ConfigError(
            f"invalid count {text!r}: expected a number such as 131072, '128k' or '1M'"
        ) from None
