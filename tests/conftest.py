"""What tests share: where real input lies, and how fast hypothesis is to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

settings.register_profile("fast", deadline=None, max_examples=50)
settings.register_profile("slow", deadline=None, max_examples=2000)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "fast")
settings.load_profile(PROFILE)


def pytest_configure(config: pytest.Config) -> None:
    """Names the marker of tests that only `HYPOTHESIS_PROFILE=slow` runs."""
    config.addinivalue_line("markers", "slow: takes long; run by HYPOTHESIS_PROFILE=slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Passes over the slow tests unless they are asked for."""
    for item in items:
        if PROFILE != "slow" and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: HYPOTHESIS_PROFILE=slow runs it"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real corpora and tokenizers, which a user's clone does not have."""
    if not SHARED.is_dir():
        pytest.skip("real input (../shared beside the repository) is missing")
    return SHARED
