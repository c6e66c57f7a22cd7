from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

_Width = tuple[int, int | None]
_Measured = tuple[float, float, _Width, list[tuple[_Width, float]]]

__all__ = [
    "Block",
    "BlockReader",
    "ChunkStore",
    "Depths",
    "Documents",
    "GramLists",
    "Groups",
    "LsaModel",
    "Part",
    "Search",
    "Selector",
    "Sequences",
    "Settings",
    "StaticModel",
    "Tokenizer",
    "Vectors",
    "Watch",
    "Wave",
    "building_seconds",
    "choose_engine",
    "chunk_file",
    "chunk_part",
    "chunk_spans",
    "chunk_texts",
    "corpus_kind",
    "embed_sample",
    "is_safe_border",
    "normalise_rows",
    "queue",
    "recall_sample",
    "same_document",
    "sample_keys",
    "searching_seconds",
    "write_parquet",
    "write_vectors",
]

@final
class Watch:
    def __new__(cls) -> Watch: ...
    @property
    def done(self) -> int: ...
    def add(self, units: int) -> None: ...
    def cancel(self) -> None: ...

@final
class ChunkStore:
    def __new__(cls, paths: Sequence[str | PathLike[str]]) -> ChunkStore: ...
    def __len__(self) -> int: ...
    @property
    def document_count(self) -> int: ...
    @property
    def part_count(self) -> int: ...
    def part_chunks(self, part: int) -> tuple[int, int]: ...
    def documents(self) -> NDArray[np.uint32]: ...
    def texts(self, start: int, stop: int) -> list[str]: ...

@final
class Vectors:
    def __new__(cls, paths: Sequence[str | PathLike[str]]) -> Vectors: ...
    @staticmethod
    def from_array(
        array: NDArray[np.float32], *, full: bool = False, threads: int = 1
    ) -> Vectors: ...
    def __len__(self) -> int: ...
    @property
    def dim(self) -> int: ...
    def read(self, start: int, stop: int) -> NDArray[np.float32]: ...

@final
class Tokenizer:
    def __new__(cls, json: str, *, lazy: bool = False) -> Tokenizer: ...
    def ready(self) -> None: ...
    def encode_chunks(
        self,
        store: ChunkStore,
        chunks: NDArray[np.uint32] | NDArray[np.int64],
        watch: Watch | None = None,
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...
    def encode_texts(
        self, texts: Sequence[str], watch: Watch | None = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]: ...
    def encode_plain(self, text: str) -> NDArray[np.uint32]: ...
    def count(self, text: str) -> int: ...
    def decode(self, ids: NDArray[np.uint32]) -> str: ...
    def characters_of(
        self, texts: Sequence[str], values: NDArray[np.uint32], offsets: NDArray[np.uint64]
    ) -> NDArray[np.int64]: ...
    def token_to_id(self, token: str) -> int | None: ...
    def id_to_token(self, id: int) -> str | None: ...
    def is_safe_border(self, left: str, right: str) -> bool: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def added(self) -> list[tuple[int, str, bool]]: ...
    @property
    def kind(self) -> str: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def hash(self) -> str: ...
    @property
    def unproven(self) -> str | None: ...
    def probes(self) -> list[str]: ...

def chunk_file(json: str) -> tuple[str, str, bool, list[str]]: ...
def is_safe_border(kind: str, left: str, right: str) -> bool: ...
def write_vectors(path: str | PathLike[str], array: NDArray[np.float32]) -> None: ...

@final
class Hidden:
    def reach(self, k: int, rows: int) -> int: ...

@final
class Search:
    def __new__(
        cls,
        vectors: Vectors,
        engine: str,
        *,
        groups: NDArray[np.uint32] | None = None,
        seed: int = 0,
        callers: int = 1,
        keep_bytes: int = 1 << 30,
    ) -> Search: ...
    @property
    def engine(self) -> str: ...
    @property
    def kernel(self) -> str: ...
    @property
    def first_breadth(self) -> int: ...
    @property
    def shard_count(self) -> int: ...
    def build_shard(
        self, shard: int, folder: str | PathLike[str] | None = None, watch: Watch | None = None
    ) -> None: ...
    def load_shard(self, shard: int, folder: str | PathLike[str]) -> None: ...
    def build_lists(
        self,
        folder: str | PathLike[str] | None = None,
        threads: int = 1,
        watch: Watch | None = None,
    ) -> None: ...
    def load_lists(self, folder: str | PathLike[str]) -> None: ...
    def order(self, rows: NDArray[np.int64]) -> NDArray[np.int64]: ...
    def rows(
        self,
        rows: NDArray[np.int64],
        k: int,
        breadth: int,
        watch: Watch | None = None,
        hidden: Hidden | None = None,
        gap: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
    def values(
        self,
        values: NDArray[np.float32],
        k: int,
        breadth: int,
        watch: Watch | None = None,
        gap: int | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
    @property
    def square(self) -> int: ...
    @property
    def list_count(self) -> int: ...
    def depths_of_rows(self, rows: NDArray[np.int64], min_recall: float, some: bool) -> Depths: ...
    def depths_of_values(self, values: NDArray[np.float32], min_recall: float) -> Depths: ...

@final
class Depths:
    @property
    def copies(self) -> float: ...
    @property
    def rows(self) -> NDArray[np.int64]: ...
    def at(
        self, k: int, threads: int = 1, watch: Watch | None = None
    ) -> tuple[_Measured, float]: ...
    def recall_of(
        self,
        rows: NDArray[np.int64],
        total: int,
        k: int,
        threads: int = 1,
        watch: Watch | None = None,
    ) -> tuple[float, float]: ...

@final
class Graph:
    def __new__(cls, vectors: Vectors, *, seed: int = 0, callers: int = 1) -> Graph: ...
    def grown(self, more: Vectors) -> Graph: ...
    def __len__(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def shard_count(self) -> int: ...
    @property
    def missing(self) -> list[int]: ...
    @property
    def vector_file_count(self) -> int: ...
    def shard_rows(self, shard: int) -> int: ...
    def build_shard(self, shard: int, watch: Watch | None = None) -> None: ...
    def rows(
        self, rows: NDArray[np.int64], k: int, breadth: int, watch: Watch | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
    def values(
        self, values: NDArray[np.float32], k: int, breadth: int, watch: Watch | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
    def measure(
        self, k: int, min_recall: float, threads: int = 1, watch: Watch | None = None
    ) -> tuple[_Measured, float]: ...
    def save_vectors(self, folder: str | PathLike[str], number: int) -> tuple[str, int, str]: ...
    def save_shard(self, folder: str | PathLike[str], shard: int) -> tuple[str, int, str]: ...
    def load_shard(
        self,
        folder: str | PathLike[str],
        shard: int,
        file: tuple[str, int, str],
        watch: Watch | None = None,
    ) -> None: ...
    @staticmethod
    def load_vectors(
        folder: str | PathLike[str],
        files: Sequence[tuple[str, int, str]],
        rows: int,
        dim: int,
        watch: Watch | None = None,
    ) -> Vectors: ...

def choose_engine(
    rows: int, queries: int, k: int, dim: int, min_recall: float
) -> tuple[str, str]: ...
def building_seconds(engine: str, rows: int, dim: int) -> float: ...
def searching_seconds(
    engine: str, rows: int, queries: int, k: int, dim: int, min_recall: float
) -> float: ...
def sample_keys(seed: int, items: NDArray[np.uint32]) -> NDArray[np.uint64]: ...
def recall_sample(seed: int, total: int, rows: int, dim: int) -> NDArray[np.int64]: ...
def corpus_kind(path: str | PathLike[str]) -> str | None: ...

@final
class BlockReader:
    @staticmethod
    def of_files(
        files: Sequence[tuple[int, str | PathLike[str], str, str, str]],
        settings: str,
        block_bytes: int,
        start: tuple[int, int] = ...,
        most_held: int | None = ...,
    ) -> BlockReader: ...
    @staticmethod
    def of_arrow(
        table: object,
        number: int,
        name: str,
        label: str,
        settings: str,
        block_bytes: int,
    ) -> BlockReader: ...
    @staticmethod
    def of_items(
        items: Iterable[object],
        number: int,
        name: str,
        label: str,
        settings: str,
        block_bytes: int,
    ) -> BlockReader: ...
    def next(self, watch: Watch | None = None) -> Block | None: ...

@final
class Block:
    @property
    def number(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def first_row(self) -> int: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def bytes(self) -> int: ...
    @property
    def file_bytes(self) -> int: ...
    @property
    def next(self) -> tuple[int, int, int]: ...
    def parse(self, watch: Watch | None = None) -> Documents: ...

@final
class Documents:
    def __len__(self) -> int: ...
    @property
    def text_bytes(self) -> int: ...
    @property
    def bad_count(self) -> int: ...
    def bad_counts(self) -> dict[str, int]: ...
    def quarantine(self, most: int = ...) -> bytes: ...
    def texts(self, start: int = 0, stop: int | None = None) -> list[str]: ...
    def origin(self, document: int) -> tuple[str, int, int, float | None]: ...
    def source(self, document: int) -> str | None: ...

@final
class Sequences:
    @property
    def tokens(self) -> int: ...
    @staticmethod
    def from_arrays(
        strategy: str,
        input_ids: NDArray[np.uint32],
        offsets: NDArray[np.uint64],
        sequence_id: NDArray[np.int64],
        meta_document: NDArray[np.uint32],
        doc_ids: list[str],
        span_offsets: NDArray[np.uint32],
        spans: tuple[
            NDArray[np.int32],
            NDArray[np.int64],
            NDArray[np.int32],
            NDArray[np.int64],
            NDArray[np.int64],
            NDArray[np.int8],
            NDArray[np.int32],
            NDArray[np.float32],
        ],
    ) -> Sequences: ...
    def __len__(self) -> int: ...

@final
class Part:
    def __new__(cls, path: str | PathLike[str], start: int, metadata: str) -> Part: ...
    def grow(self, selector: Selector, store: ChunkStore, stop: int, watch: Watch) -> int: ...
    def finish(
        self, selector: Selector, store: ChunkStore, stop: int, watch: Watch
    ) -> tuple[int, int, int]: ...

def write_parquet(
    path: str | PathLike[str],
    sequences: Sequences,
    metadata: str,
    watch: Watch | None = None,
) -> tuple[int, int]: ...
def chunk_texts(
    texts: Sequence[str],
    size: int,
    mode: str,
    counter: Tokenizer | Callable[[str], int] | None = None,
    overlap: int = 0,
    watch: Watch | None = None,
) -> list[list[str]]: ...
def chunk_spans(
    text: str,
    size: int,
    mode: str,
    counter: Tokenizer | Callable[[str], int] | None = None,
    overlap: int = 0,
    watch: Watch | None = None,
) -> NDArray[np.int64]: ...

@final
class LsaModel:
    @staticmethod
    def fit(
        texts: Sequence[str],
        dim: int,
        seed: int,
        idf_power: float,
        sample: int,
        boilerplate_share: float,
        threads: int,
        watch: Watch | None = None,
    ) -> LsaModel: ...
    @staticmethod
    def fit_store(
        store: ChunkStore,
        rows: NDArray[np.int64],
        dim: int,
        seed: int,
        idf_power: float,
        sample: int,
        boilerplate_share: float,
        threads: int,
        watch: Watch | None = None,
    ) -> LsaModel: ...
    @staticmethod
    def load(path: str | PathLike[str]) -> LsaModel: ...
    def save(self, path: str | PathLike[str]) -> None: ...
    @property
    def dim(self) -> int: ...
    @property
    def groups(self) -> list[tuple[str, int]]: ...
    def encode(self, texts: Sequence[str], watch: Watch | None = None) -> NDArray[np.float32]: ...
    def embed_part(
        self,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | PathLike[str],
        groups: str | PathLike[str] | None = None,
        watch: Watch | None = None,
    ) -> None: ...

@final
class StaticModel:
    def __new__(cls, folder: str | PathLike[str], max_tokens: int | None = None) -> StaticModel: ...
    @property
    def dim(self) -> int: ...
    def encode(
        self, tokenizer: Tokenizer, texts: Sequence[str], watch: Watch | None = None
    ) -> NDArray[np.float32]: ...
    def embed_part(
        self,
        tokenizer: Tokenizer,
        store: ChunkStore,
        start: int,
        stop: int,
        path: str | PathLike[str],
        watch: Watch | None = None,
    ) -> None: ...

def normalise_rows(array: NDArray[np.float32]) -> NDArray[np.float32]: ...
def embed_sample(total: int, count: int, seed: int) -> NDArray[np.int64]: ...
def check_setting(setting: str, name: str, value: object) -> None: ...
def setting_rules() -> list[tuple[str, str]]: ...

@final
class Settings:
    def __new__(cls, json: str) -> Settings: ...

@final
class GramLists:
    def __new__(cls, settings: Settings, bytes: int) -> GramLists: ...
    @staticmethod
    def bytes_of_one(settings: Settings) -> int: ...

@final
class Wave:
    def __new__(
        cls,
        store: ChunkStore,
        settings: Settings,
        documents: NDArray[np.uint32],
        lists: GramLists | None = None,
    ) -> Wave: ...
    def wanted(self) -> list[tuple[int, NDArray[np.int64], bool]]: ...
    def fill(
        self,
        store: ChunkStore,
        vectors: Vectors,
        settings: Settings,
        chunks: NDArray[np.int64],
        ids: NDArray[np.int64],
        scores: NDArray[np.float32],
        watch: Watch,
    ) -> None: ...
    def used_lists(self, most: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]: ...
    def write(self, path: str | PathLike[str]) -> None: ...

@final
class Groups:
    def __new__(
        cls, store: ChunkStore, names: Sequence[str], numbers: NDArray[np.uint32]
    ) -> Groups: ...
    @staticmethod
    def by_source(store: ChunkStore) -> Groups: ...
    def __len__(self) -> int: ...
    @property
    def names(self) -> list[str]: ...
    def digest(self) -> str: ...

@final
class Selector:
    def __new__(
        cls,
        settings: Settings,
        *,
        bos: int | None,
        eos: int | None,
        separator: Sequence[int],
        groups: Groups | None = None,
    ) -> Selector: ...
    def __len__(self) -> int: ...
    def step(self, wave: Wave, store: ChunkStore) -> tuple[NDArray[np.uint32], bool]: ...
    def supply(
        self,
        chunks: NDArray[np.uint32],
        values: NDArray[np.uint32],
        offsets: NDArray[np.uint64],
    ) -> None: ...
    def finish(self, wave: Wave) -> int: ...
    def move_tokens(self, path: str | PathLike[str]) -> None: ...
    def save(self, start: int, stop: int, path: str | PathLike[str]) -> None: ...
    def restore(
        self,
        store: ChunkStore,
        pieces: str | PathLike[str],
        token_ids: str | PathLike[str],
        counts: str,
    ) -> int: ...
    def counts(self) -> str: ...
    def cuts(
        self, store: ChunkStore, start: int
    ) -> tuple[list[str], NDArray[np.uint32], NDArray[np.uint64]]: ...
    def set_covered(self, start: int, characters: NDArray[np.int64]) -> None: ...
    @property
    def hidden(self) -> Hidden | None: ...
    def sift(
        self, documents: NDArray[np.uint32], store: ChunkStore
    ) -> NDArray[np.uint32] | None: ...
    @property
    def finished(self) -> bool: ...
    def tally(self) -> dict[str, Any]: ...
    def similarity(self, vectors: Vectors) -> str: ...
    def group_report(
        self, store: ChunkStore, vectors: Vectors, threads: int, watch: Watch
    ) -> str | None: ...
    def assemble(self, store: ChunkStore, start: int, stop: int, watch: Watch) -> Sequences: ...

def same_document(
    store: ChunkStore,
    vectors: Vectors,
    rows: NDArray[np.int64],
    k: int,
    threads: int,
    watch: Watch,
) -> str: ...
def file_hash(path: str | PathLike[str], watch: Watch | None = None) -> str: ...
def queue(
    store: ChunkStore, settings: Settings, sources: Sequence[int], weights: Sequence[float]
) -> NDArray[np.uint32]: ...
def chunk_part(
    documents: Documents,
    path: str | PathLike[str],
    *,
    mode: str,
    size: int,
    counter: Tokenizer | Callable[[str], int] | None = None,
    watch: Watch | None = None,
) -> tuple[int, int, int]: ...
