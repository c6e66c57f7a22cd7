"""NExtLong long-context training sequences from a corpus of short documents."""

from __future__ import annotations

__all__: list[str] = []
