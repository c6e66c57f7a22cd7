"""The versions that the bytes of a run depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """The version of the package, and the kind of processor."""
    return {"nextlong_rs": version("nextlong_rs"), "machine": platform.machine()}
