"""Fixtures of the whole suite."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test material; tests that need it skip visibly where it is missing."""
    path = Path(os.environ.get("EDGEKIT_SHARED", Path(__file__).parents[2] / "shared"))
    if not path.is_dir():
        pytest.skip(f"shared test material not found at {path} (set EDGEKIT_SHARED)")
    return path
