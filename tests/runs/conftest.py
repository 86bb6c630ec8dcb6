"""Shared fixtures of the tests of trackers."""

from pathlib import Path

import pytest


@pytest.fixture
def warnings() -> list[str]:
    """A list for the warnings of trackers."""
    return []


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    """The folder of a run."""
    path = tmp_path / "runs" / "ant" / "first"
    path.mkdir(parents=True)
    return path
