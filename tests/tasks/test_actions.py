"""Actions reach an environment in the form that its action space asks for."""

import itertools
import sys
from typing import Any

import cloudpickle
import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from helpers.messages import refused
from surefoot import api
from surefoot.errors import InputError
from surefoot.policies.files import load_policy, save_policy
from surefoot.policies.networks import PolicySettings
from surefoot.policies.policy import action_scale, new_policy
from surefoot.tasks.catalogue import find_task, make_env

LARGEST = float(np.finfo(np.float32).max)
NUMBERS = itertools.count()


class Strict(gymnasium.Env):
    """Accepts only actions of its space, and keeps them."""

    observation_space = Box(-1.0, 1.0, (3,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        assert action in self.action_space, f"{action!r} of {action.dtype} is not in {self.action_space}"
        return np.zeros(3, np.float32), 0.0, False, False, {}


def task(action_space: Box, observation_space: Box = Strict.observation_space) -> str:
    """Register a task with these spaces and return its id."""
    kind: Any = type("Kind", (Strict,), {"action_space": action_space, "observation_space": observation_space})
    id = f"Actions{next(NUMBERS)}-v0"
    gymnasium.register(id, entry_point=kind, max_episode_steps=10)
    return id


@pytest.fixture(autouse=True)
def registered():
    before, module = set(gymnasium.registry), sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)  # workers cannot import it
    yield
    cloudpickle.unregister_pickle_by_value(module)
    for id in gymnasium.registry.keys() - before:
        del gymnasium.registry[id]


numbers = st.one_of(st.floats(-1e3, 1e3), st.sampled_from([-np.inf, np.inf, -LARGEST, LARGEST, 0.0, 0.1, -0.1, 1e12]))


def test_samples_keep_to_a_bound_that_xla_takes_for_zero():
    low = np.float32(1.4e-45)
    info = find_task(task(Box(low, 1.0, (1,), np.float32)))
    policy = new_policy(jax.random.PRNGKey(0), info.name, 3, info.action_low, info.action_high, PolicySettings())
    actions, _ = policy.predict(np.zeros((200, 3)), deterministic=False)
    assert actions.min() == low > 0


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=3), st.sampled_from(["f2", "f4", "f8", "i1", "i8"]))
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_policy_of_any_action_space_can_be_saved_and_opened_and_acts_in_it(tmp_path, bounds, dtype):
    bounds = np.sort(np.array(bounds), axis=1)
    if dtype.startswith("i"):
        limit = np.iinfo(dtype)
        bounds = np.clip(np.nan_to_num(bounds), max(limit.min, -(2**53)), min(limit.max, 2**53))
    with np.errstate(over="ignore"):
        low, high = bounds.T.astype(dtype)
    assume((low < np.inf).all() and (high > -np.inf).all())
    info = find_task(task(Box(low, high, dtype=np.dtype(dtype).type)))
    policy = new_policy(jax.random.PRNGKey(0), info.name, 3, info.action_low, info.action_high, PolicySettings())
    save_policy(policy, tmp_path / "policy.safetensors")
    policy = load_policy(tmp_path / "policy.safetensors")
    env = make_env(info)
    env.reset(seed=0)
    for _ in range(3):
        action, _ = policy.predict(np.zeros(3, np.float32), deterministic=False)
        assert np.isfinite(action).all() and (action >= info.action_low).all() and (action <= info.action_high).all()
        env.step(action)


def test_whole_numbers_are_rounded_within_their_bounds():
    info = find_task(task(Box(0, 3, (4,), np.int64)))
    env = make_env(info)
    taken = []
    env.unwrapped.step = lambda action: (taken.append(action), (np.zeros(3, np.float32), 0.0, False, False, {}))[1]
    env.reset()
    env.step(np.float32([-0.4, 0.6, 2.4, 3.0]))
    np.testing.assert_array_equal(taken[0], [0, 1, 2, 3])
    assert taken[0].dtype == np.int64


@pytest.mark.parametrize("bound", [np.inf, LARGEST, 1e10])
def test_bounds_without_limit_leave_actions_in_their_own_unit(bound):
    info = find_task(task(Box(-bound, bound, (2,), np.float32)))
    assert np.isinf(info.action_low).all() and np.isinf(info.action_high).all()
    centre, half = action_scale(info.action_low, info.action_high)
    np.testing.assert_array_equal(centre, 0)
    np.testing.assert_array_equal(half, 1)


@pytest.mark.parametrize("which", ["observations", "actions"])
def test_a_task_without_observations_or_actions_is_refused(which):
    none = Box(-1.0, 1.0, (0,), np.float32)
    id = task(none) if which == "actions" else task(Strict.action_space, none)
    assert f"has no {which}" in refused(InputError, find_task, id)


@pytest.mark.parametrize("algorithm", ["ppo", "ddpg", "td3", "sac", "ars"])
@pytest.mark.parametrize("space", [Box(-LARGEST, LARGEST, (2,), np.float32), Box(0, 3, (2,), np.int64)], ids=str)
def test_every_algorithm_trains_in_any_action_space(algorithm, space, tmp_path, capsys):
    changes: dict[str, Any] = {"training.steps": 60, "engine.num_envs": 2, "training.evaluation_episodes": 2}
    changes |= {"engine.threads": 1}  # few processes
    changes |= {"policy.actor": [8], "policy.critic": [8]} if algorithm != "ars" else {}
    changes |= {"ppo.horizon": 10, "ppo.minibatch_size": 20} if algorithm == "ppo" else {}
    changes |= {"ars.directions": 1} if algorithm == "ars" else {}
    off_policy = algorithm in ("ddpg", "td3", "sac")
    changes |= {f"{algorithm}.learning_starts": 10, f"{algorithm}.batch_size": 4} if off_policy else {}
    settings = {name.replace(".", "__"): value for name, value in changes.items()}
    outcome = api.train(task(space), root=tmp_path, name="run", algorithm=algorithm, **settings)
    err = capsys.readouterr().err
    unbounded = not np.issubdtype(space.dtype, np.integer)
    assert ("2 of 2 actions" in err and "within -1 and 1" in err) == (off_policy and unbounded)
    policy = api.load(outcome.folder.policy / "policy.safetensors")
    assert np.isfinite(policy.predict(np.zeros(3, np.float32))[0]).all()
