"""The settings of a run as typed keywords."""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["Options"]


class Options(TypedDict, total=False):
    """The settings as keywords of `synthesize` and `estimate`, for type checkers: the fields of
    `Settings` but `embedder`, which is an argument of its own, and `mode`.
    """

    mode: Literal["default", "paper"] | None
    seq_len: int | str
    num_sequences: int | str | None
    seed: int
    text_column: str
    id_column: str | None
    score_column: str | None
    source_column: str | None
    max_document_bytes: int
    max_error_rate: float
    chunk_size: int
    chunk_unit: Literal["chars", "tokens"]
    chunk_mode: Literal["lossless", "paper"]
    dim: int
    idf_power: float
    fit_chunks: int
    boilerplate_share: float
    index: Literal["auto", "exhaustive", "exact", "clustered", "hnsw"]
    min_recall: float
    range_min: int
    range_max: int | None
    min_score: float | None
    max_score: float | None
    absolute_margin: float | None
    relative_margin: float | None
    exclude_same_doc: bool
    max_containment: float | None
    containment_words: int
    num_negatives: int | None
    max_reuse: int | None
    max_per_doc: int | None
    sampling_strategy: Literal["top", "random"]
    collisions: Literal["round-robin", "first-come"]
    min_meta_chunks: int
    long_documents: Literal["skip", "pass"]
    length: Literal["exact", "paper"]
    chars_per_token: float
    length_factor: float
    on_short: Literal["drop", "shorten"]
    placement: Literal["head", "tail", "random"]
    chunk_separator: str
    bos: str | int | None
    eos: str | int | None
