"""Versions of the software, recorded with every result."""

import subprocess
from pathlib import Path

import pytest

from surefoot.runs import versions


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of Surefoot's own, in a folder that is not a repository yet."""
    path = tmp_path / "src" / "surefoot" / "runs" / "versions.py"
    path.parent.mkdir(parents=True)
    path.write_text("x = 1\n")
    monkeypatch.setattr(versions, "__file__", str(path))
    versions.revision.cache_clear()
    yield path
    versions.revision.cache_clear()


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_is_that_of_surefoots_repository(source: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    first = git(tmp_path, "rev-parse", "HEAD")
    assert versions.revision() == first[:12]
    source.write_text("x = 2\n")
    versions.revision.cache_clear()
    assert versions.revision() == f"{first[:12]}-dirty"


def test_a_repository_in_a_parent_folder_is_ignored(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")
    inner = tmp_path / "lib" / "python" / "site-packages" / "surefoot" / "runs" / "versions.py"
    inner.parent.mkdir(parents=True)
    inner.write_text(source.read_text())
    monkeypatch.setattr(versions, "__file__", str(inner))
    assert versions.revision() is None


def test_without_git_there_is_no_revision(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    assert versions.revision() is None
