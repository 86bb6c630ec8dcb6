"""Environments in a module of the user: the printed commands work, output stays clean, and limits are said at once."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.tasks.catalogue import find_policy_task, find_task

SOURCE = """
import fcntl

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Point(gymnasium.Env):
    '''A point is to be pushed to zero. It has no time limit, ends after 30 steps, and prints.'''

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space, action_space = Box(-9, 9, (2,), np.float32), Box(-1, 1, (1,), np.float32)

    def __init__(self, force=1.0, render_mode=None):
        self.force, self.render_mode = force, render_mode
        print("simulator 1.2.3, hello from its makers")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.steps = self.np_random.uniform(-1, 1, 2).astype(np.float32), 0
        return self.x, {}

    def step(self, action):
        print("step", self.steps)
        self.steps += 1
        self.x = self.x + np.float32(0.1 * self.force) * np.array([self.x[1], float(action[0])], np.float32)
        return np.clip(self.x, -9, 9), -float(self.x[0] ** 2), self.steps >= 30, False, {}

    def render(self):
        return np.full((64, 96, 3), 99, np.uint8)


class Single(Point):
    '''There is only one of it.'''

    def __init__(self, render_mode=None):
        super().__init__(render_mode=render_mode)
        self.port = open("single.lock", "w")
        try:
            fcntl.flock(self.port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError("port 5005 is in use by another instance") from None

    def close(self):
        self.port.close()


for kind in (Point, Single):
    gymnasium.register(f"my/{kind.__name__}-v0", entry_point=f"{__name__}:{kind.__name__}")
"""
TINY = [
    *("--training.steps", "256", "--training.evaluation_episodes", "2", "--engine.num_envs", "1"),
    *("--ppo.horizon", "128", "--ppo.minibatch_size", "128", "--policy.actor", "[8]", "--policy.critic", "[8]"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of environments in it."""
    (tmp_path / "my_points.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> int:
    """Run a command as a new process would, which has not imported the module."""
    sys.modules.pop("my_points", None)
    return main(words)


def test_the_printed_commands_work_in_a_new_process(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The run folder's name has a space, the task prints and has no time limit, and an option differs."""
    options = ["--task_options.force", "0.5", "--root", "my runs", "--name", "a", "--quiet"]
    assert run("train", "my_points:my/Point-v0", *TINY, *options) == 0
    printed = capfd.readouterr().out.splitlines()[-1].removeprefix("next: ").split("    ")
    assert [shlex.split(command)[1] for command in printed] == ["evaluate", "record", "report"]
    for command in printed:
        shorter = ["--episodes", "1", *(["--no-video", "--quiet"] if " report " in command else [])]
        assert run(*shlex.split(command)[1:], *shorter) == 0
    path = shlex.split(printed[0])[-1]
    assert (folder / path / "report.html").exists() and (folder / path / "videos/best.mp4").exists()

    capfd.readouterr()
    assert run("evaluate", path, "--episodes", "2", "--json") == 0
    output = capfd.readouterr()
    assert json.loads(output.out)[0]["task_options"] == {"force": 0.5}
    assert "hello from its makers" in output.err and "step 3" in output.err

    policy = f"{path}/policy/policy.safetensors"
    assert run("evaluate", policy, "--episodes", "1") == 2
    assert "if you trust it, add --task my_points:my/Point-v0" in capfd.readouterr().err
    assert run("evaluate", policy, "--episodes", "1", "--task", "my_points:my/Point-v0", "--json") == 0
    assert json.loads(capfd.readouterr().out)[0]["task_options"] == {"force": 0.5}


def test_the_task_of_a_policy_named_again_keeps_its_options() -> None:
    assert find_policy_task("ant", {"frame_skip": 3}, instead="Ant-v5").options == {"frame_skip": 3}
    assert find_policy_task("ant", {"frame_skip": 3, "frame_stack": 2}, instead="Hopper-v5").options == {
        "frame_stack": 2
    }


def test_a_missing_second_environment_is_noticed_before_the_training(folder: Path, capfd) -> None:
    assert main(["train", "my_points:my/Single-v0", *TINY, "--quiet"]) == 2
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("surefoot: evaluations need environments beside those of the training: ")
    assert error.endswith("OSError: port 5005 is in use by another instance")
    assert not (folder / "runs").exists()


def test_an_option_without_a_default_must_be_given(folder: Path) -> None:
    source = SOURCE.replace("force=1.0", "force").replace("render_mode=render_mode)", "1.0, render_mode)")
    (folder / "my_points.py").write_text(source)
    with pytest.raises(InputError, match=r"task 'my_points:my/Point-v0': option 'force' is missing"):
        find_task("my_points:my/Point-v0")
    assert find_task("my_points:my/Point-v0", {"force": 2}).env_options == {"force": 2}


def test_an_edited_module_of_a_notebook_is_trained_with_its_new_spaces(folder: Path) -> None:
    assert find_task("my_points:my/Point-v0").action_size == 1
    del sys.modules["my_points"]
    (folder / "my_points.py").write_text(SOURCE.replace("Box(-1, 1, (1,)", "Box(-2, 2, (3,)"))
    assert find_task("my_points:my/Point-v0").action_high.tolist() == [2, 2, 2]
