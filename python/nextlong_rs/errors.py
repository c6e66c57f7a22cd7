"""The exceptions of nextlong_rs: one tree, one class per remedy."""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "CorpusError",
    "EmbeddingError",
    "MissingExtraError",
    "NextlongError",
    "RetrievalError",
    "RunError",
    "TokenizerError",
]


class NextlongError(Exception):
    """The root: whatever nextlong_rs raises on purpose."""


class ConfigError(NextlongError, ValueError):
    """A setting or an argument is wrong: change it."""


class CorpusError(NextlongError):
    """The input cannot be used: mend it, or allow more bad rows."""


class TokenizerError(NextlongError):
    """The tokenizer cannot be loaded or used."""


class EmbeddingError(NextlongError):
    """The embedder failed or gave vectors that cannot be used."""


class RetrievalError(NextlongError):
    """An index cannot be built or searched."""


class RunError(NextlongError):
    """The run directory is damaged, incomplete, in use or not ours."""


class MissingExtraError(NextlongError, ImportError):
    """An optional package is missing; the message says what to install."""
