"""Runs in separate processes that are killed, for the tests of resuming."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.recipes.files import dump_recipe
from surefoot.recipes.recipe import Recipe
from surefoot.runs.folder import RunFolder


def _start(*words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "surefoot.cli.main", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for_rows(process: subprocess.Popen[str], metrics: Path, count: int) -> None:
    """Wait until the metrics have `count` more lines, or the process has ended."""
    before = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    while process.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < before + count):
        try:
            process.wait(0.005)
        except subprocess.TimeoutExpired:
            continue


@pytest.fixture
def start():
    """Return a function that starts `surefoot` with arguments in a separate process."""
    return _start


@pytest.fixture
def wait_for_rows():
    """Return a function that waits until a process has written N more rows of metrics."""
    return _wait_for_rows


@pytest.fixture
def killed_again_and_again():
    """Return a function that trains a run to its end and kills it several times."""

    def train(recipe: Recipe, root: Path, kills: int, moments: random.Random, rows: int) -> tuple[RunFolder, int]:
        """Kill it up to `kills` times, each within `rows` rows of metrics; return the run and the number of kills."""
        path = root / "recipe.toml"
        path.write_text(dump_recipe(recipe))
        folder = RunFolder(root / recipe.task / "run")
        process = _start("train", recipe.task, "--recipe", path, "--name", "run", "--root", root)
        killed = 0
        for _ in range(kills):
            _wait_for_rows(process, folder.metrics, 2 + moments.randrange(rows))
            process.kill()
            _, errors = process.communicate()
            killed += process.returncode == -signal.SIGKILL
            assert process.returncode in (0, -signal.SIGKILL), errors
            process = _start("resume", folder.path)
        out, errors = process.communicate()
        assert process.returncode == 0, errors
        assert out.startswith("finished") and errors == ""
        return folder, killed

    return train
