"""A task in a user's own file is trained, evaluated and reported like Surefoot's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import surefoot
from helpers.messages import one_line
from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.evaluation.evaluate import evaluate_policy
from surefoot.simulation.factory import choose_engine, make_engine
from surefoot.tasks import catalogue
from surefoot.tasks.catalogue import find_task, make_env

ROOT = Path(__file__).parents[2]
TINY = {
    "training__steps": 256,
    "training__evaluation_episodes": 2,
    "engine__num_envs": 2,
    "ppo__horizon": 128,
    "ppo__minibatch_size": 128,
    "policy__actor": [8],
    "policy__critic": [8],
}
# The documentation's example with a short name, shorter episodes, a list as an option, and a mirror image.
CHANGES = {
    "max_episode_steps=500": 'short_name="hop", max_episode_steps=100',
    "    speed_m_s: float": "    gait: tuple[float, ...] = (1.0, 2.0)\n    speed_m_s: float",
    "import mujoco\n": "import mujoco\nfrom surefoot.tasks.symmetry import task_mirror\n",
    "    def reset(": "    def mirror(self):\n        return task_mirror(self, self.model.qpos0)\n\n    def reset(",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the user's file in it."""
    text = (ROOT / "docs" / "howto" / "examples" / "my_tasks.py").read_text()
    for old, new in CHANGES.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "my_tasks.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    return tmp_path


def message_of(name: str, options: dict | None = None) -> str:
    with pytest.raises(InputError) as caught:
        find_task(name, options)
    one_line(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["my_tasks:Hop", "my_tasks:my/Hop-v0"])
def test_class_and_id_lead_to_the_same_task(folder: Path, name: str) -> None:
    info = find_task(name)
    assert (info.name, info.id, info.fall, info.max_episode_steps) == (
        "my_tasks:Hop",
        "my_tasks:my/Hop-v0",
        "terminated",
        100,
    )
    assert info.body is not None and info.body.joints == info.action_names == ("hip", "knee")
    assert info.observation_names is not None and info.observation_names[:3] == ("height", "pitch", "hip angle")
    assert info.mirror is not None and info.mirror.is_involution()
    assert find_task("hop").name == find_task("my/Hop-v0").name == "my_tasks:Hop"
    assert choose_engine("auto", info) == "batch"


def test_batch_equals_single_environments(folder: Path, assert_matches_single_environments) -> None:
    assert_matches_single_environments(
        find_task("my_tasks:Hop"), steps=60, first=1e-6, rtol=1e-4, atol=1e-4, reward_rtol=1e-4
    )


def test_worker_processes_import_the_users_module(folder: Path) -> None:
    engine = make_engine("processes", find_task("my_tasks:Hop"), 2, 2)
    try:
        observation, _ = engine.reset(seed=3)
        env = make_env(find_task("my_tasks:Hop"))
        np.testing.assert_array_equal(observation[0], env.reset(seed=3)[0])
    finally:
        engine.close()


def test_a_run_is_trained_resumed_evaluated_and_reported(folder: Path) -> None:
    outcome = surefoot.train("my_tasks:Hop", name="run", **TINY)
    assert outcome.folder.path == Path("runs/my_tasks-Hop/run")
    result = surefoot.evaluate("runs/my_tasks-Hop/run", episodes=4)
    assert result["task"] == "my_tasks:Hop" and result["falls"] is not None
    surefoot.resume("runs/my_tasks-Hop/run", steps=512)
    assert main(["record", "runs/my_tasks-Hop/run", "--task", "my_tasks:Hop", "--episodes", "1"]) == 0
    assert (folder / "runs/my_tasks-Hop/run/videos/best.mp4").exists()
    assert main(["report", "runs/my_tasks-Hop/run", "--task", "my_tasks:Hop", "--episodes", "2", "--quiet"]) == 0
    written = surefoot.report("runs/my_tasks-Hop/run", episodes=2)
    assert any(path.name == "report.html" for path in written)
    again = surefoot.train("my_tasks:Hop", name="again", training__start_from="runs/my_tasks-Hop/run", **TINY)
    assert again.folder.policy_file.exists()
    policy = surefoot.load("runs/my_tasks-Hop/run")
    assert policy.task == "my_tasks:Hop"
    assert evaluate_policy(policy, episodes=2)["episodes"] == 2


def test_a_policy_file_alone_does_not_import_the_users_module(folder: Path) -> None:
    surefoot.train("my_tasks:Hop", name="run", **TINY)
    policy = folder / "runs/my_tasks-Hop/run/policy/best.safetensors"
    policy = policy if policy.exists() else next((folder / "runs/my_tasks-Hop/run").rglob("*.safetensors"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(Path(surefoot.__file__).parents[1])}
        command = [sys.executable, "-m", "surefoot", "evaluate", str(policy), "--episodes", "2", *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    refused = run()
    assert refused.returncode == 2 and "would import the module 'my_tasks'" in refused.stderr
    assert refused.stderr.count("\n") == 1
    allowed = run("--task", "my_tasks:Hop")
    assert allowed.returncode == 0, allowed.stderr


def test_naming_a_policys_own_task_permits_its_import_and_keeps_its_options(folder: Path, monkeypatch) -> None:
    find_task("my_tasks:Hop")
    del sys.modules["my_tasks"]
    own = catalogue.find_policy_task("my_tasks:Hop", {"speed_m_s": 2.0}, instead="my_tasks:Hop")
    assert own.options == {"speed_m_s": 2.0}
    other = catalogue.find_policy_task("my_tasks:Hop", {"speed_m_s": 2.0, "frame_stack": 2}, instead="Hopper-v5")
    assert other.options == {"frame_stack": 2}


def test_observations_that_do_not_fit_their_names_are_a_one_line_error(folder: Path) -> None:
    text = (folder / "my_tasks.py").read_text()
    (folder / "my_wrong_tasks.py").write_text(text.replace('scalars("height", "pitch")', 'scalars("height")'))
    with pytest.raises(InputError, match="observe_and_reward returns 9 values, but `observation` names 8"):
        make_engine("batch", find_task("my_wrong_tasks:Hop"), 2)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("(action).sum(1)", "(action)", r"reward term 'effort' has shape (4, 2) for 4 environments, not (4,)"),
        ("(action).sum(1)", "(action).sum(1)[:, None]", "reward term 'effort' has shape (4, 1)"),
        ("xp.ones_like(qvel[:, 0])", "1.0", "reward term 'alive' has shape ()"),
        ("xp.ones_like(qvel[:, 0])", "None", "reward term 'alive' has shape None"),
        ("reward_terms, fallen)", "reward_terms, fallen[:, None])", "terminated has shape (4, 1)"),
        ("reward_terms, fallen)", "reward_terms, 1.0 * fallen)", "terminated has type float32, not bool"),
        ("tasks.TaskOutput(", "(", "observe_and_reward returns no TaskOutput"),
    ],
)
def test_a_wrong_output_is_a_one_line_error(folder: Path, old: str, new: str, message: str) -> None:
    text = (folder / "my_tasks.py").read_text()
    assert old in text
    (folder / "my_wrong_tasks.py").write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        make_engine("batch", find_task("my_wrong_tasks:Hop"), 4)
    one_line(caught.value)
    assert message in str(caught.value)


def test_an_error_in_observe_and_reward_is_one_line_after_its_traceback(folder: Path, capsys) -> None:
    text = (folder / "my_tasks.py").read_text()
    line = '        qpos, qvel = measured["qpos"], measured["qvel"]\n'
    (folder / "my_failing_tasks.py").write_text(text.replace(line, line + '        raise KeyError("no such sensor")\n'))
    assert main(["train", "my_failing_tasks:Hop", "--quiet"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == ("surefoot: task 'my_failing_tasks:Hop': observe_and_reward failed: KeyError: 'no such sensor'")
    assert any("my_failing_tasks.py" in line for line in lines[:-1])
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("method", ["reset", "apply_action", "post_step", "gather", "after_reset", "mirror"])
def test_an_error_in_any_method_of_a_task_ends_in_one_line(folder: Path, capsys, method: str) -> None:
    text = (folder / "my_tasks.py").read_text()
    failing = f'\n    def {method}(self, *_):\n        raise KeyError("no such sensor")\n'
    (folder / "my_failing_tasks.py").write_text(text + failing)
    assert main(["train", "my_failing_tasks:Hop", "--quiet", "--engine.num_envs", "2"]) in (1, 2)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("surefoot: task 'my_failing_tasks:Hop'") and "no such sensor" in last


def test_a_wrong_option_is_one_line_that_names_it(folder: Path) -> None:
    unknown = "task 'hop': unknown option 'speed'; did you mean 'speed_m_s'? Choose from gait, speed_m_s"
    assert message_of("my_tasks:Hop", {"speed": 1}) == unknown
    assert message_of("my_tasks:Hop", {"speed_m_s": 9}) == (
        "task 'hop': speed_m_s = 9: input should be less than or equal to 5"
    )
    assert "speed_m_s = True: should be a number" in message_of("my_tasks:Hop", {"speed_m_s": True})
    assert find_task("my_tasks:Hop", {"gait": [3, 4.5, 1]}).options == {"gait": [3, 4.5, 1]}


def test_the_command_line_refuses_a_wrong_option_in_one_line(folder: Path, capsys) -> None:
    assert main(["train", "my_tasks:Hop", "--task_options.speed_m_s", "fast"]) == 2
    assert capsys.readouterr().err == ("surefoot: task 'hop': speed_m_s = 'fast': input should be a valid number\n")
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('    fall = "terminated"\n', "", "Hop must state its fall rule: fall = 'terminated' or 'reward' or 'none'"),
        ('fall = "terminated"', 'fall = "falls"', "Hop must state its fall rule"),
        ("Options = HopOptions", "Options = dict", "Hop.Options must be a subclass of surefoot.tasks.TaskOptions"),
        ("class Hop(tasks.Task)", "class Hop", "Hop is not a subclass of surefoot.tasks.Task"),
        ('short_name="hop"', 'short_name="anymal"', "Hop: 'surefoot/AnymalC-v0' already has this id or short name"),
        ('short_name="hop"', 'short_name="ant"', "Hop: 'Ant-v5' already has this id or short name"),
        ("my/Hop-v0", "surefoot/Walk-v0", "Hop: 'surefoot/Walk-v0' already has this id or short name"),
        ("my/Hop-v0", "Hopper-v5", "Hop: 'Hopper-v5' already has this id or short name"),
        ("my/Hop-v0", "Pendulum-v1", "Hop: Gymnasium already has a task 'Pendulum-v1'"),
    ],
)
def test_a_task_that_cannot_be_registered_is_one_line(folder: Path, old: str, new: str, message: str) -> None:
    text = (folder / "my_tasks.py").read_text()
    assert old in text
    (folder / "my_other_tasks.py").write_text(text.replace(old, new))
    assert message in message_of("my_other_tasks:Hop")


def test_a_name_that_is_not_in_the_module_is_met_by_the_nearest(folder: Path) -> None:
    assert message_of("my_tasks:Hopp") == "unknown task 'my_tasks:Hopp'; did you mean 'Hop'?"
    assert message_of("my_task:Hop").startswith("task 'my_task:Hop': the module 'my_task' cannot be imported: ")


def test_a_class_without_the_decorator_is_refused(folder: Path) -> None:
    lines = (folder / "my_tasks.py").read_text().splitlines(keepends=True)
    (folder / "my_plain_tasks.py").write_text("".join(line for line in lines if not line.startswith("@")))
    assert "the class 'Hop' is not registered; put @surefoot.tasks.register(...) above it" in message_of(
        "my_plain_tasks:Hop"
    )


def test_a_module_that_is_imported_again_replaces_its_task(folder: Path) -> None:
    find_task("my_tasks:Hop")
    del sys.modules["my_tasks"]
    (folder / "my_tasks.py").write_text((folder / "my_tasks.py").read_text().replace("steps=100", "steps=70"))
    assert find_task("my_tasks:Hop").max_episode_steps == 70
