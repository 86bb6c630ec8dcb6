"""Every command that README and docs show is run, on a training cut short."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from surefoot.cli.main import main
from surefoot.reports.opengl import gl_available

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHORT = (
    *(
        "--training.steps=512",
        "--training.evaluation_episodes=1",
        "--engine.num_envs=4",
        "--engine.threads=1",
        "--quiet",
    ),
)
SHORT_PPO = ("--ppo.horizon=64", "--ppo.minibatch_size=128", "--ppo.epochs=1")


def shown_commands() -> list[str]:
    """The lines of all shell blocks, without their comments."""
    blocks = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)]
    lines = [shlex.join(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("runs")
    assert main(["train", "Hopper-v5", "--name", "tiny", "--root", str(root), *SHORT, *SHORT_PPO]) == 0
    return str(root / "Hopper-v5" / "tiny")


@pytest.mark.parametrize("line", [line for line in shown_commands() if line.startswith("surefoot ")])
def test_a_shown_command_works(
    line: str, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # where the files are that they name
    words = [run if word == "RUN" else word for word in shlex.split(line)[1:]]
    if words[0] == "record" and not gl_available():
        pytest.skip("no OpenGL without a screen here")
    if words[0] == "train" and "--settings" not in words:
        words += ["--root", str(tmp_path), *SHORT, *(() if "--algorithm" in words else SHORT_PPO)]
    assert main(words) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", [line for line in shown_commands() if line.startswith("make ")])
def test_a_shown_make_target_exists(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_shown_command_is_of_a_kind_that_is_checked() -> None:
    assert all(line.startswith(("surefoot ", "make ", "git ", "python benchmarks/")) for line in shown_commands())
    assert len(shown_commands()) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_extras_and_pictures_exist(page: Path) -> None:
    text = page.read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in re.findall(r'"(?:surefoot|\.)\[([a-z]+)\]"', text):
        assert extra in extras
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / link).exists(), link


def test_the_tables_of_results_are_those_of_the_files() -> None:
    check = [sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"]
    assert subprocess.run(check, check=False).returncode == 0
