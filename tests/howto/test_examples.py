"""The examples of the howto pages are trained, evaluated and learn."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import surefoot
from surefoot.runs.metrics import read_metrics

EXAMPLES = Path(__file__).parents[2] / "docs" / "howto" / "examples"
SHORT = {"training__steps": 512, "training__evaluation_episodes": 2, "engine__num_envs": 4, "engine__threads": 1}
SHORT_PPO = {"ppo__horizon": 64, "ppo__minibatch_size": 128, "ppo__epochs": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the examples in it."""
    for path in EXAMPLES.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_task_learns_within_seconds() -> None:
    outcome = surefoot.train(
        "my_tasks:Hop",
        training__steps=60_000,
        training__evaluate_every=60_000,
        training__evaluation_episodes=10,
        engine__num_envs=16,
        ppo__horizon=128,
        ppo__learning_rate=1e-3,
        policy__initial_std=0.5,
    )
    result = surefoot.evaluate(outcome.folder.path, episodes=10, which="last")
    assert result["return"]["mean"] > 60  # an untrained policy falls at once
    assert result["falls"] is not None


def test_a_new_reward_term_is_trained_and_logged() -> None:
    outcome = surefoot.train("my_rewards:GentleAnymalC", **SHORT, **SHORT_PPO)
    rows = [row for row in read_metrics(outcome.folder.metrics) if "reward/joint speed" in row]
    assert rows and all(row["reward/joint speed"] < 0 for row in rows)


def test_a_reward_term_of_velocity_tracking_is_trained_and_logged() -> None:
    outcome = surefoot.train("anymal-velocity", task_options__reward_terms=["my_terms"], **SHORT, **SHORT_PPO)
    assert any("reward/sideways_lean" in row for row in read_metrics(outcome.folder.metrics))


@pytest.mark.parametrize("body", ["strider.xml", "strider.toml"])
def test_a_new_robot_follows_commands(body: str) -> None:
    outcome = surefoot.train("velocity", task_options__body=body, **SHORT, **SHORT_PPO)
    assert surefoot.load(outcome.folder.path).action_low.shape == (4,)
    assert surefoot.evaluate(outcome.folder.path, episodes=2)["falls"] is not None


def test_a_new_robot_walks_forward() -> None:
    outcome = surefoot.train("walk", task_options__body="strider.xml", **SHORT, **SHORT_PPO)
    assert surefoot.load(outcome.folder.path).action_low.shape == (4,)


def copied_package(folder: Path, example: str) -> Path:
    """Copy the package into `folder`, with one of the examples among its algorithms; return the package's folder."""
    package = folder / "package" / "surefoot"
    shutil.copytree(Path(surefoot.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(EXAMPLES / example, package / "algorithms")
    return package


_END = "--- end of a command ---"


def run(package: Path, *commands: list[str]) -> list[str]:
    """Run commands of the copied package, in one process, and return what each prints."""
    code = f"""
import json, sys
from surefoot.cli.main import main
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
    print({_END!r}, flush=True)
"""
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return done.stdout.split(_END)[:-1]


def test_a_new_algorithm_is_one_file_and_one_line(folder: Path) -> None:
    specification = importlib.util.spec_from_file_location("generate", EXAMPLES.parents[1] / "generate.py")
    assert specification and specification.loader
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    package = copied_package(folder, "a2c.py")
    registry_file = package / "algorithms" / "registry.py"
    registry_file.write_text(generate.with_algorithm(registry_file.read_text(), "a2c", "A2CSettings"))

    short = [f"--{name.replace('__', '.')}={value}" for name, value in SHORT.items()]
    _, _, evaluated, listed = run(
        package,
        ["train", "Hopper-v5", "--algorithm", "a2c", "--name", "first", "--a2c.horizon", "16", *short, "--quiet"],
        ["resume", "Hopper-v5/first", "--steps", "1024", "--quiet"],
        ["evaluate", "Hopper-v5/first", "--episodes", "2", "--json"],
        ["list"],
    )
    assert json.loads(evaluated)[0]["algorithm"] == "a2c"
    assert "Advantage actor-critic" in listed
    rows = [row for row in read_metrics(folder / "runs/Hopper-v5/first/metrics.jsonl") if "policy/clip_fraction" in row]
    assert rows and all(row["policy/clip_fraction"] == 0 for row in rows)


def test_new_exploration_noise_is_one_function_and_one_line(folder: Path) -> None:
    package = copied_package(folder, "smooth_noise.py")
    module = package / "algorithms" / "exploration.py"
    page = (EXAMPLES.parent / "new_exploration.md").read_text()
    diff = page.split("```diff\n")[1].split("```")[0].splitlines()
    added, removed = ([line[1:] for line in diff if line[0] == sign] for sign in "+-")
    text = module.read_text()
    assert removed[0] in text
    text = text.replace(removed[0], added[1]).replace(
        "\nfrom surefoot.policies", f"\n{added[0]}\nfrom surefoot.policies", 1
    )
    module.write_text(text)
    short = [f"--{name.replace('__', '.')}={value}" for name, value in SHORT.items()]
    td3 = ["--td3.exploration.noise=smooth", "--td3.learning_starts=100", "--policy.actor=[8]", "--policy.critic=[8]"]
    _, listed = run(
        package,
        ["train", "Pendulum-v1", "--algorithm", "td3", "--name", "first", *td3, *short, "--quiet"],
        ["train", "Pendulum-v1", "--algorithm", "td3", "--settings"],
    )
    assert 'noise = "smooth"' in (folder / "runs/Pendulum-v1/first/recipe.toml").read_text()
    assert "smooth" in listed
