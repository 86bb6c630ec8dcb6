"""Trainings with several seeds: none is lost or done twice after a kill; the cores are divided."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.commands import run_in_process
from helpers.messages import one_line
from surefoot.cli.main import main
from surefoot.errors import InputError, RunError, SurefootError
from surefoot.evaluation.statistics import summarise_seeds
from surefoot.recipes.files import default_recipe, dump_recipe
from surefoot.studies import processes, seeds
from surefoot.studies.processes import describe_split, split_cores
from surefoot.studies.seeds import Order, open_study, run_seeds

FAKE = (sys.executable, str(Path(__file__).with_name("fake_surefoot.py")))
SHORT = [
    *("--algorithm", "ars", "--training.steps", "64", "--engine.num_envs", "4", "--training.evaluate_every", "32"),
    *("--ars.directions", "2", "--ars.top_directions", "2", "--ars.rollout_length", "8"),
    *("--training.evaluation_episodes", "1", "--episodes", "2"),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(seeds, "background_load", lambda: None)
    monkeypatch.setattr(seeds, "_POLL_S", 0.01)


def order(count=3, **changes):
    settings = {"task": "Pendulum-v1", "recipe": None, "settings": {}, "start_from": None, "episodes": 2}
    return Order(**settings | changes, seeds=range(count), command="surefoot seeds Pendulum-v1")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of fake trainings, and the calls that were made."""
    monkeypatch.setattr(processes, "SUREFOOT", FAKE)
    folder = open_study(tmp_path, "first", order())
    folder.runs.mkdir()
    (folder.path / "recipe.toml").write_text(dump_recipe(default_recipe("Pendulum-v1")))
    return SimpleNamespace(folder=folder, calls=lambda: (folder.path / "calls").read_text().splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="child processes learn of a killed parent on Linux only")
def test_a_killed_study_goes_on_with_no_run_lost_or_done_twice(study, monkeypatch):
    monkeypatch.setattr(seeds, "split_cores", lambda count: [sorted(os.sched_getaffinity(0))] * count)
    code = (
        "import sys; from surefoot.studies import processes, seeds; from surefoot.studies.folder import StudyFolder\n"
        "processes.SUREFOOT = sys.argv[2:]; seeds.background_load = lambda: None\n"
        "folder = StudyFolder(sys.argv[1]); order = folder.read(); order.pop('kind')\n"
        "seeds.run_seeds(folder, seeds.Order(**order))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(study.folder.path), *FAKE], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert study.calls() == ["train 0", "evaluate 0", "train 1"]
    said = []
    results = run_seeds(study.folder, order(), 2, said.append)
    assert sorted(study.calls()) == sorted(
        [*("train 0", "evaluate 0", "train 1"), *("resume 1", "evaluate 1"), *("train 2", "evaluate 2")]
    )
    assert [run["seed"] for run in results["seeds"]] == [0, 1, 2]
    assert [run["return"]["mean"] for run in results["seeds"]] == [0.0, 1.0, 2.0]
    assert results["over_seeds"] == summarise_seeds([[0, 0], [1, 1], [2, 2]])
    assert results["seeds"][1]["training_seconds"] == 2.0  # of its metrics, because its processes were two
    assert sorted(line.split(":")[0] for line in said[1:]) == ["seed 0", "seed 1", "seed 2"]
    assert json.loads(study.folder.results.read_text()) == results
    calls = study.calls()
    run_seeds(study.folder, order(), 1)
    assert study.calls() == calls


def test_a_run_without_a_checkpoint_starts_again(study):
    lost = study.folder.runs / "Pendulum-v1" / "seed-0"
    lost.mkdir(parents=True)
    (lost / "recipe.toml").write_text((study.folder.path / "recipe.toml").read_text())
    study.folder.write(study.folder.read() | {"seeds": [0]})
    assert run_seeds(study.folder, order(1))["over_seeds"]["n"] == 1
    assert study.calls() == ["train 0", "evaluate 0"]


def test_a_failed_seed_does_not_keep_the_others_from_training(study):
    study.folder.write(study.folder.read() | {"seeds": [3, 4]})
    with pytest.raises(SurefootError, match=r"^seed 3 \(status 1\) failed") as error:
        run_seeds(study.folder, order())
    one_line(error.value)
    assert study.calls() == ["train 3", "train 4", "evaluate 4"]


def test_more_seeds_may_follow_but_other_settings_may_not(study):
    assert open_study(study.folder.path.parent, "first", order(5)).read()["seeds"] == [0, 1, 2, 3, 4]
    for changed in (order(episodes=3), order(settings={"ppo.epochs": "3"}), order(start_from="a")):
        with pytest.raises(RunError, match="choose another one with --name"):
            open_study(study.folder.path.parent, "first", changed)


def test_the_cores_are_divided(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    assert split_cores(1) == [[0, 1, 2, 3, 4]]
    assert sorted(core for share in split_cores(2) for core in share) == [0, 1, 2, 3, 4]
    assert describe_split(split_cores(2)) == "2 at a time, on 2 or 3 cores each"
    assert describe_split(split_cores(5)) == "5 at a time, on 1 core each"
    with pytest.raises(InputError, match="choose 1 to 5"):
        split_cores(6)


def test_the_command_trains_and_evaluates_a_real_seed(tmp_path, monkeypatch, capsys):
    run_in_process(monkeypatch)
    words = ["seeds", "Pendulum-v1", "--n", "1", "--root", str(tmp_path), "--name", "quick", *SHORT]
    output = tmp_path / "out.json"
    assert main([*words, "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "1 seed of 'Pendulum-v1'" in shown and f"surefoot compare {tmp_path / 'quick'}" in shown
    results = json.loads(output.read_text())
    assert [run["seed"] for run in results["seeds"]] == [0]
    assert all(run["steps"] >= 64 and len(run["curve"]) >= 2 for run in results["seeds"])
    assert results["command"].startswith("surefoot seeds Pendulum-v1 --n 1 --name quick")
    assert str(tmp_path) not in results["command"].replace(str(output), "")


@pytest.mark.parametrize(
    "words, message",
    [
        (["Pendulum-v2"], "no recipe or task 'Pendulum-v2'"),
        (["anymel"], "did you mean 'anymal'"),
        (["anymal", "--ppo.learning_rat", "1"], "did you mean '--ppo.learning_rate'"),
        (["anymal", "--seed", "3"], "use --first-seed and --n"),
        (["anymal", "--n", "0"], "choose 1 to 1,000"),
        (["anymal", "--output", "a.txt"], "should end in .json"),
        (["anymal", "--from", "nowhere-{seed}"], "no run 'nowhere-0'"),
    ],
)
def test_wrong_input_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["seeds", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("surefoot: ") and error.count("\n") == 1
    assert not (tmp_path / "studies").exists()
