"""Long-context training sequences from a corpus of short documents, by the NExtLong method.

    import nextlong_rs as nl

    result = nl.synthesize("corpus/*.jsonl.zst", output="out", tokenizer="tokenizer.json",
                           seq_len=131_072, num_sequences=1000)
    print(result)

The stages of the pipeline can be used alone: `chunk`, `chunk_spans`, `Chunker`, `Embedder`, `knn`, `Index`.
Method: Gao et al., "NExtLong", ICML 2025, arXiv 2501.12766.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
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
    from nextlong_rs.chunk import Chunker, chunk, chunk_spans
    from nextlong_rs.embed.embedder import Embedder
    from nextlong_rs.estimate import Estimate, estimate
    from nextlong_rs.index.knn import Neighbours, knn
    from nextlong_rs.index.persistent import Index
    from nextlong_rs.result.inspect import inspect
    from nextlong_rs.result.result import Result
    from nextlong_rs.sample import sample_corpus, sample_tokenizer
    from nextlong_rs.settings import Settings
    from nextlong_rs.synthesize import synthesize

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

_MODULES = {
    "Chunker": "chunk",
    "Embedder": "embed.embedder",
    "Estimate": "estimate",
    "Index": "index.persistent",
    "Neighbours": "index.knn",
    "Result": "result.result",
    "Settings": "settings",
    "chunk": "chunk",
    "chunk_spans": "chunk",
    "estimate": "estimate",
    "inspect": "result.inspect",
    "knn": "index.knn",
    "sample_corpus": "sample",
    "sample_tokenizer": "sample",
    "synthesize": "synthesize",
}
"""The module of each public name that is imported when the name is first used."""


class _Package(ModuleType):
    """The package, whose functions `chunk`, `estimate` and `synthesize` stay reachable.

    Importing a submodule sets it as an attribute of its package, so that importing the module
    `nextlong_rs.chunk` would otherwise replace the function `nextlong_rs.chunk`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import nextlong_rs` is fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nextlong_rs")
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'nextlong_rs' has no attribute {name!r}")
    value = getattr(import_module(f"nextlong_rs.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
