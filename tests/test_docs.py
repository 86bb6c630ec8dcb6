"""The documentation: commands and Python blocks run on a tiny budget; links, pictures and generated parts are valid."""

import functools
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import surefoot
from helpers.commands import run_in_process
from surefoot.bodies.loader import load_body
from surefoot.cli.arguments import split_settings
from surefoot.cli.main import main
from surefoot.deployment.export import onnx_installed
from surefoot.live import watch
from surefoot.recipes.files import load_recipe, recipe_names
from surefoot.recipes.make import make_recipe
from surefoot.recipes.overrides import parse_settings
from surefoot.reports import video
from surefoot.reports.opengl import gl_available
from surefoot.simulation import opensim
from surefoot.studies.api import StudyOutcome, plan_seeds
from surefoot.studies.folder import StudyFolder
from surefoot.studies.sweep_plan import plan_sweep
from surefoot.training import off_policy

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RESULTS = ROOT / "docs" / "results" / "index.md"
SHORT: dict[str, Any] = {
    "training.steps": 64,
    "training.evaluation_episodes": 1,
    "training.stop_at_return": "none",
    "engine.num_envs": 4,
    "engine.threads": 1,
    "training.samplers": 1,
}
SHORT_OF: dict[str, dict[str, Any]] = {
    "ppo": {"ppo.horizon": 16, "ppo.minibatch_size": 32, "ppo.epochs": 1},
    "ars": {"ars.directions": 2, "ars.top_directions": 2, "ars.rollout_length": 20},
    **{name: {f"{name}.learning_starts": 16, f"{name}.buffer_size": 1000} for name in ("ddpg", "td3", "sac")},
}
_WITHOUT_PEERS = ["--peers", "--rounds", "1", "--output", "throughput.json"]
# Arguments that make a benchmark short, and leave out the libraries of the extra `bench`.
BENCHMARKS: dict[str, list[str]] = {
    "ars_throughput": [*_WITHOUT_PEERS, "--directions", "4", "--steps", "4000"],
    "engines": ["--rounds", "1", "--seconds", "0.05", "--tasks", "HalfCheetah-v5", "--output", "engines.json"],
    "off_policy_throughput": [*_WITHOUT_PEERS, "--steps", "50"],
    "physics_share": ["--rounds", "1", "--steps", "5", "--output", "share.json"],
    "ppo_shares": ["--steps", "9000", "--output", "shares.json"],
    "ppo_throughput": [*_WITHOUT_PEERS, "--steps", "256", "--transitions", "2048"],
    "readme": [],
    "run_policy": ["--episodes", "1"],
    "save_robot": [],
    "rivals": ["--list"],
    "step_crossing": ["--heights", "[0.05]", "--episodes", "2"],
    "symmetry_cost": ["--rounds", "1", "--output", "cost.json"],
    "terrain_crossing": ["--kinds", '["rough"]', "--levels", "[0]", "--episodes", "2"],
    "velocity_tracking": ["--episodes", "2"],
}


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """Return the commands in the `sh` blocks of a page, split into words, without comments."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shortened(words: list[str]) -> list[str]:
    """Return a `surefoot train` command with the settings that make it short."""
    algorithm = algorithm_of(words)
    # Small networks, which take little time to compile; a policy to start from has its own shape.
    small = {} if algorithm == "ars" or "--from" in words else {"policy.actor": [8, 8], "policy.critic": [8, 8]}
    short = SHORT | SHORT_OF[algorithm] | small
    return [*words, *(f"--{name}={value}" for name, value in short.items()), "--quiet"]


def algorithm_of(words: list[str]) -> str:
    if "--recipe" in words:
        recipe = words[words.index("--recipe") + 1]
        return load_recipe(recipe).algorithm
    if words[1:2] == ["seeds"] and words[2] in recipe_names():
        return load_recipe(words[2]).algorithm
    return words[words.index("--algorithm") + 1] if "--algorithm" in words else "ppo"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the repository, to run commands in; videos are short and small, iterations short."""
    for path in (ROOT / "docs" / "howto" / "examples").glob("*.py"):
        shutil.copy(path, tmp_path)
    for name in ("benchmarks", "docs", "Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(off_policy, "STEPS_PER_ITERATION", SHORT["training.steps"])
    run_in_process(monkeypatch)
    full_record = video.record

    def short_record(*arguments: Any, seconds: float | None = None, **options: Any) -> dict[str, Any]:
        return full_record(*arguments, seconds=min(seconds or 0.2, 0.2), **options | {"size": (160, 120)})

    monkeypatch.setattr(video, "record", short_record)
    monkeypatch.setattr(watch, "watch", lambda *arguments: None)  # it would wait for a browser
    return tmp_path


def run(words: list[str], workspace: Path) -> None:
    """Run one command on a tiny budget."""
    if words[0] == "surefoot":
        run_surefoot(words[1:], workspace)
    elif words[0] == "python" and (words[1] != "run_policy.py" or onnx_installed()):
        run_benchmark(Path(words[1]).stem, words[2:], workspace)
    elif words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    elif words[0] == "pip":
        check_extras(words)
    elif words[0] != "python":
        pytest.fail(f"a command of a kind that is not tested: {shlex.join(words)}")


def run_surefoot(words: list[str], workspace: Path) -> None:
    if words[0] == "record" and not gl_available():
        return
    if "opensim" in words and not opensim.installed():
        return
    if words[0] in ("evaluate", "record", "report", "resume", "watch"):
        ensure_run(words[1], workspace)
    if words[0] == "train" and re.search("menagerie:|opensim|cluster", " ".join(words)):
        recipe_of(words[1:])  # without a download, OpenSim or a start of Ray
        return
    if words[0] == "sweep":
        words = [*words, "--settings"]  # its plan only
    if words[0] == "seeds" or (words[0] == "train" and "--settings" not in words):
        words = shortened(words)
    words += {"seeds": ["--n=1", "--episodes=1"], "compare": ["--no-video"]}.get(words[0], [])
    words += {"evaluate": ["--episodes=1"], "report": ["--episodes=1", "--quiet"]}.get(words[0], [])
    assert main(words) == 0, shlex.join(words)


def ensure_run(name: str, workspace: Path) -> None:
    """Train a run that a page takes from another page."""
    if "/" in name and not name.startswith("results/") and not (workspace / "runs" / name).exists():
        task, _, run_name = name.partition("/")
        assert main(["train", *shortened([task, "--name", run_name])]) == 0


def recipe_of(words: list[str]) -> None:
    """Check the settings of a training without running it."""
    own, settings = split_settings(words[1:], ["--recipe", "--name", "--from", "--engine", "--quiet"])
    changes = {name: value for name, value in parse_settings(settings).items() if "menagerie:" not in str(value)}
    make_recipe(words[0], own[own.index("--recipe") + 1] if "--recipe" in own else None, changes)


def run_benchmark(name: str, words: list[str], workspace: Path) -> None:
    short = BENCHMARKS[name]
    for word in words:
        path = workspace / word
        if word.startswith("runs/") and not path.exists() and word.endswith(".safetensors"):
            path.parent.mkdir(parents=True)  # a policy that another page trains: one of the same task instead
            shutil.copy(ROOT / "results" / f"{word.split('/')[-4]}-ppo.safetensors", path)
    words = [word.format(seed=0) if word.startswith("anymal/") else word for word in words]
    # An example of the howto pages, or a benchmark.
    path = f"{name}.py" if (workspace / f"{name}.py").exists() else f"benchmarks/{name}.py"
    folder = str(ROOT / "benchmarks")
    with (
        mock.patch.object(sys, "argv", [path, *words, *short]),
        mock.patch.object(sys, "path", [folder, *sys.path]),
        mock.patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), folder])}),
    ):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            assert not end.code, f"{shlex.join(sys.argv)}: {end.code}"


def check_extras(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in re.findall(r"\[([a-z,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= extras.keys()


# The benchmarks on this page train with full-sized networks.
SLOW = ROOT / "docs" / "design" / "performance.md"


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page == SLOW else [])
        for page in PAGES
        if commands(page) and page != RESULTS
    ],
    ids=name_of,
)
def test_the_commands_of_a_page_run(page: Path, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(page):
        run(words, workspace)
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("words", commands(RESULTS), ids=shlex.join)
def test_the_commands_of_the_results_run(words: list[str], workspace: Path) -> None:
    if "--from" in words:
        run(["surefoot", "seeds", "anymal", "--output", "results/anymal-ppo.json"], workspace)
    run(words, workspace)


@pytest.mark.parametrize("words", [words for words in commands(RESULTS) if words[1] == "seeds"], ids=shlex.join)
def test_the_settings_of_the_results_are_valid(words: list[str]) -> None:
    own, settings = split_settings(words[2:], ["--n", "--output", "--from", "--name", "--variant"])
    changes = dict(word.split("=") for word in own if "=" in word)  # of all variants
    plan_seeds(own[0], [0], 100, settings | changes, {}, None, "")


full_seeds = surefoot.seeds


def short_seeds(recipe: str, **options: Any) -> Any:
    short = {name.replace(".", "__"): value for name, value in (SHORT | SHORT_OF["ppo"]).items()}
    small = {"policy__actor": [8, 8], "policy__critic": [8, 8], "n": 1, "episodes": 1}
    return full_seeds(recipe, **options | short | small)


def planned_sweep(task: str, trials: int, callback: Any, **settings: Any) -> StudyOutcome:
    """Stands for `surefoot.sweep`: checks the plan without a trial."""
    plan_sweep(task, changes={name.replace("__", "."): value for name, value in settings.items()})
    assert callback(0, {"values": {"return": 6000.0}})
    return StudyOutcome(StudyFolder("nowhere"), "interrupted", {})


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_the_python_of_a_page_runs(page: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_train = surefoot.train

    @functools.wraps(full_train)
    def short_train(task: str, *arguments: Any, **settings: Any) -> Any:
        short = {name.replace(".", "__"): value for name, value in (SHORT | SHORT_OF["ppo"]).items()}
        return full_train(task, *arguments, **settings | short | {"training__stop_at_return": None})

    monkeypatch.setattr(surefoot, "train", short_train)
    monkeypatch.setattr(surefoot, "evaluate", functools.partial(surefoot.evaluate, episodes=1))
    monkeypatch.setattr(surefoot, "seeds", short_seeds)
    monkeypatch.setattr(surefoot, "sweep", planned_sweep)
    for block in blocks(page, "python"):
        if not block.startswith('"""'):  # files of docs/howto/examples/ have their own tests
            exec(compile(block, name_of(page), "exec"), {})


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=name_of)
def test_the_toml_of_a_page_describes_a_robot_or_a_search_space(page: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "howto" / "examples" / "strider.xml", tmp_path)
    for block in blocks(page, "toml"):
        path = tmp_path / "strider.toml"
        path.write_text(block)
        if "[space." in block:
            assert plan_sweep(None, space=str(path)).space
            continue
        assert load_body(str(path)).body.name == "Strider"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_stand_in_blocks_that_are_run(page: Path) -> None:
    text = page.read_text()
    languages = {"", "sh", "python", "c", "toml", "text", "xml", "diff"}
    assert set(re.findall(r"^```(\w*)$", text, re.MULTILINE)) <= languages
    for block in blocks(page, "text"):
        assert not re.search(r"^(surefoot|python|make|pip|git) ", block, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page: Path) -> None:
    # Without code and mathematics, which look like links to a regular expression.
    text = re.sub(r"^```.*?^```$|\$\$.*?\$\$|\$[^$\n]*\$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("script", ["benchmarks/readme.py", "docs/generate.py"])
def test_generated_parts_are_up_to_date(script: str) -> None:
    # In a new process, because other tests of this one register tasks and reward terms.
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, ROOT / script, "--check"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_documentation_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "ant-sac.json").exists()
