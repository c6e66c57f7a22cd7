"""Long-context training sequences from a corpus of short documents, by the NExtLong method.

    import nextlong_rs as nl

    result = nl.synthesize("corpus/*.jsonl.zst", output="out", tokenizer="tokenizer.json",
                           seq_len=131_072, num_sequences=1000)
    print(result)

The rooms of the pipeline are usable alone: `chunk`, `chunk_spans`, `Chunker`, `Embedder`, `knn`, `Index`.
Method: Gao et al., "NExtLong", ICML 2025, arXiv 2501.12766.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nextlong_rs.errors import (
    ConfigError,
    CorpusError,
    EmbeddingError,
    MissingExtraError,
    NextlongError,
    RetrievalError,
    RunError,
    TokenizerError,
)

if TYPE_CHECKING:
    from nextlong_rs.chunking import Chunker, chunk, chunk_spans
    from nextlong_rs.embed import Embedder
    from nextlong_rs.estimating import Estimate, estimate
    from nextlong_rs.index import Neighbours, knn
    from nextlong_rs.inspecting import inspect
    from nextlong_rs.kept_index import Index
    from nextlong_rs.pipeline import synthesize
    from nextlong_rs.result import Result
    from nextlong_rs.sample import sample_corpus, sample_tokenizer
    from nextlong_rs.settings import Settings

__all__ = [
    "Chunker",
    "ConfigError",
    "CorpusError",
    "Embedder",
    "EmbeddingError",
    "Estimate",
    "Index",
    "MissingExtraError",
    "Neighbours",
    "NextlongError",
    "Result",
    "RetrievalError",
    "RunError",
    "Settings",
    "TokenizerError",
    "__version__",
    "chunk",
    "chunk_spans",
    "estimate",
    "inspect",
    "knn",
    "sample_corpus",
    "sample_tokenizer",
    "synthesize",
]

_ROOMS = {
    "Chunker": "chunking",
    "Embedder": "embed",
    "Estimate": "estimating",
    "Index": "kept_index",
    "Neighbours": "index",
    "Result": "result",
    "Settings": "settings",
    "chunk": "chunking",
    "chunk_spans": "chunking",
    "estimate": "estimating",
    "inspect": "inspecting",
    "knn": "index",
    "sample_corpus": "sample",
    "sample_tokenizer": "sample",
    "synthesize": "pipeline",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used: `import nextlong_rs` stays quick."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nextlong_rs")
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module 'nextlong_rs' has no attribute {name!r}")
    value = getattr(import_module(f"nextlong_rs.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
