"""The public functions, from training to evaluation, with one tiny run."""

import json

import gymnasium
import numpy as np
import pytest

import surefoot
from surefoot.errors import InputError, PolicyFileError, RunError

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


def test_evaluate_takes_a_run_or_a_policy_file(run):
    outcome, root = run
    result = surefoot.evaluate("Pendulum-v1/tiny", episodes=3, root=root)
    assert result["return"]["n"] == 3 and json.loads(outcome.folder.evaluation.read_text()) == result
    of_file = surefoot.evaluate(outcome.folder.policy_file, episodes=3)
    assert of_file["returns"] == result["returns"]


def test_load_takes_a_run_or_a_policy_file(run):
    outcome, _ = run
    observation = np.array([1.0, 0.0, 0.5], np.float32)
    actions = [
        surefoot.load(path).predict(observation)[0] for path in (outcome.folder.path, outcome.folder.policy_file)
    ]
    np.testing.assert_array_equal(*actions)
    assert actions[0].shape == (1,)


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
        _ = surefoot.watch  # type: ignore
    assert list(tmp_path.iterdir()) == []
