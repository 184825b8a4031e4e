"""Fixtures of the whole suite."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business: no test asserts times.
settings.register_profile("edgekit", deadline=None)
settings.load_profile("edgekit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts what the code generates now as reviewed."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture(autouse=True)
def state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where notices that were shown are noted: not in the home folder of who runs the tests."""
    folder = tmp_path.with_name(f"{tmp_path.name}-state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test material; tests that need it skip visibly where it is missing."""
    path = Path(os.environ.get("EDGEKIT_SHARED", Path(__file__).parents[2] / "shared"))
    if not path.is_dir():
        pytest.skip(f"shared test material not found at {path} (set EDGEKIT_SHARED)")
    return path
