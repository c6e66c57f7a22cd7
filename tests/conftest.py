"""What tests share: where real input lies, and how fast hypothesis is to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

settings.register_profile("fast", deadline=None, max_examples=50)
settings.register_profile("slow", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real corpora and tokenizers, which a user's clone does not have."""
    if not SHARED.is_dir():
        pytest.skip("real input (../shared beside the repository) is missing")
    return SHARED
