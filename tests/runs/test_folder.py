"""Run folders: creation, search by name, and the lock that admits one process at a time."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import messages
from helpers.messages import one_line
from surefoot.errors import RunError
from surefoot.runs import folder as folder_module
from surefoot.runs.folder import RunFolder, list_runs


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make(root: Path, task: str, name: str) -> RunFolder:
    run = RunFolder.create(root, task, name)
    run.recipe.write_text("")
    return run


def refused(text: str, root: Path) -> str:
    return messages.refused(RunError, RunFolder.open, text, root)


def test_paths_inside_a_run_folder(tmp_path):
    run = RunFolder.create(tmp_path / "runs", "ant", "first")
    assert run.path == tmp_path / "runs" / "ant" / "first"
    assert run.path.is_dir()
    places = {
        "recipe": "recipe.toml",
        "metrics": "metrics.jsonl",
        "checkpoints": "checkpoints",
        "policy": "policy",
        "policy_file": "policy/policy.safetensors",
        "videos": "videos",
        "evaluation": "evaluation.json",
        "report": "report.html",
        "gait": "gait.json",
        "failure": "failure",
    }
    assert {name: str(getattr(run, name).relative_to(run.path)) for name in places} == places
    assert names_in(run.path) == []


def test_an_existing_name_is_refused(tmp_path):
    RunFolder.create(tmp_path, "ant", "first")
    with pytest.raises(RunError, match="exists; choose another name"):
        RunFolder.create(tmp_path, "ant", "first")
    RunFolder.create(tmp_path, "hopper", "first")


def test_a_default_name_that_exists_gets_a_number(tmp_path):
    made = [RunFolder.create(tmp_path, "ant", None, "ppo-0-20260102-030405").path.name for _ in range(3)]
    assert made == ["ppo-0-20260102-030405", "ppo-0-20260102-030405-2", "ppo-0-20260102-030405-3"]


@pytest.mark.parametrize("task", ["surefoot/AnymalC-v0", "module:Name-v0", "../up", "/absolute", "a b\n", "..", ""])
def test_any_task_name_becomes_one_folder_under_the_root(tmp_path, task):
    run = RunFolder.create(tmp_path / "runs", task, "one")
    assert run.path.resolve().parent.parent == (tmp_path / "runs").resolve()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", ".hidden", "a\n", "a b", "a\0b", "-x", "x" * 101])
def test_an_invalid_folder_name_is_refused(tmp_path, name):
    with pytest.raises(RunError, match="cannot be called") as error:
        RunFolder.create(tmp_path, "ant", name)
    one_line(error.value)
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_created_is_a_one_line_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot make"):
        RunFolder.create(tmp_path / "file", "ant", "one")
    with pytest.raises(RunError, match="cannot make"):
        RunFolder.create(tmp_path, "file", "one")
    with pytest.raises(RunError, match="cannot make"):
        RunFolder.create(tmp_path, "t" * 300, "one")


def test_a_run_is_found_by_path_and_by_name(tmp_path, monkeypatch):
    run = make(tmp_path / "runs", "ant", "first")
    monkeypatch.chdir(tmp_path)
    for text in ("ant/first", "ant/first/", "runs/ant/first", str(run.path)):
        assert RunFolder.open(text).path.resolve() == run.path
    monkeypatch.chdir(run.path)
    assert RunFolder.open(".").path.resolve() == run.path


def test_the_error_for_an_unknown_run_suggests_the_nearest(tmp_path):
    make(tmp_path, "ant", "first")
    make(tmp_path, "ant", "second")
    make(tmp_path, "half-cheetah", "other")
    assert "did you mean 'ant/first'" in refused("ant/frist", tmp_path)
    assert "'half-cheetah/other'" in refused("halfcheetah/other", tmp_path)
    assert "among the runs are" in refused("zzzzzz", tmp_path)


def test_the_error_without_any_runs_says_how_to_start_one(tmp_path):
    assert "start one with 'surefoot train" in refused("ant/first", tmp_path / "absent")


def test_a_folder_without_a_recipe_is_not_a_run(tmp_path):
    (tmp_path / "ant" / "empty").mkdir(parents=True)
    assert "no recipe.toml" in refused("ant/empty", tmp_path)
    (tmp_path / "file").touch()
    assert "no recipe.toml" in refused("file", tmp_path)


@pytest.mark.parametrize("text", ["", "a\nb", "a\0b", "x" * 5000, "\ud800", "a/" * 200])
def test_an_invalid_run_name_is_a_one_line_error(tmp_path, text):
    refused(text, tmp_path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=30))
def test_any_text_for_a_missing_run_is_a_one_line_error(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    refused(text, tmp_path / "runs")


def test_runs_are_listed_newest_first(tmp_path):
    for time, name in enumerate(["one", "two", "three"]):
        os.utime(make(tmp_path, "ant", name).recipe, (time, time))
    (tmp_path / "ant" / "no-run").mkdir()
    assert list_runs(tmp_path) == ["ant/three", "ant/two", "ant/one"]


def test_the_lock_admits_one_holder_and_is_free_afterwards(tmp_path):
    run = RunFolder.create(tmp_path, "ant", "first")
    with (
        run.lock(),
        pytest.raises(RunError, match=f"in use by process {os.getpid()} on") as error,
        run.lock(),
    ):
        pass
    one_line(error.value)
    with run.lock():
        pass


def test_the_lock_is_free_after_an_error(tmp_path):
    run = RunFolder.create(tmp_path, "ant", "first")
    with pytest.raises(KeyError), run.lock():
        raise KeyError
    with run.lock():
        pass


def test_the_lock_is_released_when_its_process_dies(tmp_path):
    run = RunFolder.create(tmp_path, "ant", "first")
    code = (
        "import sys; from surefoot.runs.folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).lock(): print('held', flush=True); sys.stdin.read()"
    )
    source = os.pathsep.join([str(Path(folder_module.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": source},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=f"process {process.pid} "), run.lock():
            pass
        process.send_signal(signal.SIGKILL)
    with run.lock():
        pass


def test_a_surviving_forked_worker_does_not_hold_the_lock(tmp_path):
    code = (
        "import os, sys; from surefoot.runs.folder import RunFolder\n"
        "run = RunFolder(sys.argv[1]); waits, tells = os.pipe()\n"
        "with run.lock():\n"
        "    if os.fork() == 0: os.close(tells); os.read(waits, 1); os._exit(0)\n"
        "with run.lock(): print('held again')"
    )
    source = os.pathsep.join([str(Path(folder_module.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": source}
    said = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], env=environment)
    assert said == b"held again\n"


def test_a_folder_that_cannot_be_locked_is_a_one_line_error(tmp_path):
    with pytest.raises(RunError, match="cannot write to"), RunFolder(tmp_path / "absent").lock():
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.warns(UserWarning, match="has no locks"), RunFolder.create(tmp_path, "ant", "first").lock():
        pass


def test_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "from surefoot.runs import checkpoints, folder, metrics, trackers\n"
        "print([name for name in ('jax', 'gymnasium', 'wandb', 'tensorboardX') if name in sys.modules])"
    )
    source = os.pathsep.join([str(Path(folder_module.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": source}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment) == b"[]\n"
