"""The public functions, from training to evaluation, with one tiny run."""

import contextlib
import json
import warnings
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest

import surefoot
from helpers.messages import one_line
from helpers.reach import Reach
from surefoot.api import make_recipe_from
from surefoot.errors import InputError, PolicyFileError, RunError
from surefoot.policies.files import save_policy
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import new_policy
from surefoot.reports import video
from surefoot.tasks.catalogue import find_task, make_env
from surefoot.tasks.registry import is_local, name_of
from surefoot.training.progress import Progress

TINY = {
    "engine__num_envs": 4,
    "ppo__horizon": 32,
    "ppo__minibatch_size": 64,
    "ppo__epochs": 1,
    "policy__actor": [8],
    "policy__critic": [8],
    "training__steps": 256,
    "training__evaluation_episodes": 2,
    "training__evaluate_every": 128,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Outcome of a tiny training and the folder of all runs."""
    root = tmp_path_factory.mktemp("api") / "runs"
    return surefoot.train("Pendulum-v1", name="tiny", root=root, **TINY), root


def test_train_writes_a_run_folder_and_returns_its_outcome(run):
    outcome, root = run
    assert outcome.folder.path == root / "Pendulum-v1" / "tiny"
    assert (outcome.reason, outcome.counters.steps) == ("finished", 256)
    assert outcome.folder.recipe.exists() and outcome.folder.policy_file.exists()


def test_resume_continues_to_the_given_steps(run):
    _, root = run
    assert surefoot.resume("Pendulum-v1/tiny", root, steps=384).counters.steps == 384


@pytest.mark.parametrize("options, message", [({"steps": 0}, "training.steps = 0"), ({"callback": 3}, "callback = 3")])
def test_a_refused_resume_leaves_the_run_unchanged(options, message, run):
    recipe = run[0].folder.recipe.read_bytes()
    with pytest.raises(InputError) as caught:
        surefoot.resume(run[0], progress=False, **options)
    one_line(caught.value, message)
    assert run[0].folder.recipe.read_bytes() == recipe


def test_evaluate_takes_a_run_or_a_policy_file(run):
    outcome, root = run
    result = surefoot.evaluate("Pendulum-v1/tiny", episodes=3, root=root)
    assert result["return"]["n"] == 3 and json.loads(outcome.folder.evaluation.read_text()) == result
    of_file = surefoot.evaluate(outcome.folder.policy_file, episodes=3)
    assert of_file["returns"] == result["returns"]


def test_evaluate_takes_an_outcome_or_a_policy(run):
    outcome, _ = run
    results = [surefoot.evaluate(one, episodes=3)["returns"] for one in (outcome, surefoot.load(outcome))]
    assert results[0] == results[1]


def test_load_takes_a_run_or_a_policy_file(run):
    outcome, _ = run
    observation = np.array([1.0, 0.0, 0.5], np.float32)
    actions = [
        surefoot.load(place).predict(observation)[0]
        for place in (outcome.folder.path, outcome.folder.policy_file, outcome)
    ]
    np.testing.assert_array_equal(actions[0], actions[1])
    np.testing.assert_array_equal(actions[0], actions[2])
    assert actions[0].shape == (1,)


def test_train_takes_an_environment_a_class_or_a_function(tmp_path, capsys):
    def local() -> gymnasium.Env:
        return Reach(0.1)

    changed = gymnasium.make("Pendulum-v1", g=5.0)
    assert name_of(gymnasium.make("Pendulum-v1")) == "Pendulum-v1"
    assert find_task(name_of(gymnasium.make("Pendulum-v1", max_episode_steps=50))).max_episode_steps == 50
    assert name_of(Reach) == "helpers.reach:Reach"
    expected = {
        changed: "local/Pendulum-v0",
        local: "local/test-train-takes-an-environment-a-class-or-a-function-locals-local-v0",
    }
    for number, (task, name) in enumerate(expected.items()):
        outcome = surefoot.train(task, name=f"run{number}", root=tmp_path, progress=False, **TINY)
        policy = surefoot.load(outcome)
        assert (outcome.reason, policy.task) == ("finished", name)
        assert f"only this process knows the task '{name}': no other one can resume" in capsys.readouterr().err
        assert len(surefoot.evaluate(policy, episodes=2)["returns"]) == 2
    assert surefoot.resume(outcome, progress=False, steps=384).counters.steps == 384
    with contextlib.closing(make_env(find_task("local/Pendulum-v0"))) as env:
        assert env.unwrapped.g == 5.0


def test_a_task_of_another_process_is_refused_with_the_remedy():
    with pytest.raises(InputError, match="made by a class or function of another process; define it in a module") as e:
        find_task("local/Gone-v0")
    one_line(e.value)


def test_tasks_that_only_this_process_knows():
    gymnasium.register("SurefootApi-v0", entry_point=Reach)
    gymnasium.register("SurefootApi-v1", entry_point="__main__:Reach")
    gymnasium.register("SurefootApi-v2", entry_point="helpers.reach:Reach")
    own = ("SurefootApi-v0", "SurefootApi-v1")
    others = ("SurefootApi-v2", "helpers.reach:Reach", "anymal", "ant", "Pendulum-v1", "surefoot/AnymalC-v0", "walk")
    assert [is_local(name) for name in (*own, *others)] == [True] * 2 + [False] * len(others)


def test_training_shows_its_progress_unless_told_not_to(tmp_path, capsys):
    surefoot.train("Pendulum-v1", name="loud", root=tmp_path, **TINY)
    loud = capsys.readouterr().err
    surefoot.train("Pendulum-v1", name="quiet", root=tmp_path, progress=False, **TINY)
    assert "evaluated return" in loud and capsys.readouterr().err == ""


def test_a_warm_start_warns_once_of_a_missing_mirror_image(tmp_path, capsys, recwarn):
    options = {"facing": "backward"}
    info = find_task("anymal", options)
    sizes = info.observation_size, info.action_low, info.action_high
    policy = new_policy(jax.random.PRNGKey(0), "anymal", *sizes, PolicySettings(), options)
    save_policy(policy, tmp_path / "p.safetensors")
    changes = {"task_options.facing": "backward", "training.start_from": str(tmp_path / "p.safetensors")}
    assert make_recipe_from("anymal", None, changes, tmp_path, Progress()).symmetry == "none"
    assert capsys.readouterr().err.count("no mirror image is known") == 1 and not recwarn.list


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda root: surefoot.train(3, root=root), "task 3: give a name, an environment, or a class or function"),
        (lambda root: surefoot.train(None, root=root), "task None: give a name"),
        (lambda root: surefoot.train(Reach(), root=root), "gymnasium.make did not make cannot be made again"),
        (lambda root: surefoot.train("Pendulum-v1", root=root, callback=3), "callback = 3: give a function"),
        (lambda root: surefoot.evaluate(3), "int is neither a run nor a policy"),
        (lambda root: surefoot.load(None), "NoneType is neither a run nor a policy"),
        (lambda root: surefoot.record([]), "list is neither a run nor a policy"),
        (lambda root: surefoot.resume({}), "dict is neither a run nor a policy"),
        (lambda root: surefoot.report(3), "int is neither a run nor a policy"),
        (lambda root: surefoot.record("run", seed=-1), "seed = -1: choose 0 to 100,000,000"),
        (lambda root: surefoot.make(5), "a task is named by a text, not by 5"),
        (lambda root: surefoot.make("Pendulum-v1", num_envs="2"), "num_envs = '2': choose a whole number from 1 to"),
        (lambda root: surefoot.make("Pendulum-v1", num_envs=0), "num_envs = 0: choose 1 to 100,000"),
        (lambda root: surefoot.make("half-cheetah", threads=-1), "threads = -1: choose 0 to 1,024"),
    ],
)
def test_a_wrong_argument_is_a_one_line_error(call, message, tmp_path):
    with pytest.raises(InputError) as caught:
        call(tmp_path)
    one_line(caught.value, message)
    assert list(tmp_path.iterdir()) == []


def test_record_takes_what_train_returned(run, tmp_path, monkeypatch):
    outcome, _ = run
    recorded = []

    def record(policy, info, path, **options):
        recorded.append((policy.task, info.name, path, options.get("episodes")))
        return {"path": path, "return": 1.0, "length": 2.0}

    monkeypatch.setattr(video, "record", record)
    assert surefoot.record(outcome)["path"] == outcome.folder.videos / "best.mp4"
    result = surefoot.record(surefoot.load(outcome), tmp_path / "film.mp4", episodes=2)
    assert result == {"path": tmp_path / "film.mp4", "return": 1.0, "length": 2.0}
    assert recorded[1] == ("Pendulum-v1", "Pendulum-v1", tmp_path / "film.mp4", 2)


def test_make_returns_a_vector_environment():
    envs = surefoot.make("half-cheetah", num_envs=3, max_episode_steps=5)
    assert isinstance(envs, gymnasium.vector.VectorEnv)
    observation, _ = envs.reset(seed=0)
    assert observation.shape == (3, 17)
    for _ in range(5):
        *_, truncated, _ = envs.step(envs.action_space.sample())
    assert truncated.all()
    envs.close()


def test_wrong_names_are_errors(tmp_path):
    with pytest.raises(InputError, match="'half-cheetah'"):
        surefoot.train("half-cheeta", root=tmp_path)
    with pytest.raises(InputError, match=r"ppo\.clip_eps"):
        surefoot.train("Pendulum-v1", root=tmp_path, ppo__clip_eps=-1)
    with pytest.raises(RunError):
        surefoot.resume("Pendulum-v1/none", root=tmp_path)
    with pytest.raises(PolicyFileError):
        surefoot.load(tmp_path)
    with pytest.raises(AttributeError):
        _ = surefoot.wath  # type: ignore
    assert list(tmp_path.iterdir()) == []


def test_a_policy_that_repeats_its_actions_is_loaded_with_a_warning(tmp_path: Path) -> None:
    """Another library would evaluate it in a plain environment, with other results."""
    settings = PolicySettings(actor=(4,), critic=(4,))
    for options in ({}, {"action_repeat": 3}):
        policy = new_policy(jax.random.key(0), "Pendulum-v1", 3, -np.ones(1), np.ones(1), settings, options)
        save_policy(policy, tmp_path / "policy.safetensors")
        if options:
            with pytest.warns(UserWarning, match=r"repeats each action 3 times; .*\('Pendulum-v1', action_repeat=3\)"):
                surefoot.load(tmp_path / "policy.safetensors")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                surefoot.load(tmp_path / "policy.safetensors")
