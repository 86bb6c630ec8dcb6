"""Action repeat and frame stacking, against plain Gymnasium environments stepped by hand."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from surefoot.api import make_recipe, train_recipe
from surefoot.errors import InputError
from surefoot.evaluation.evaluate import evaluate_policy
from surefoot.policies.files import load_policy
from surefoot.simulation import envpool
from surefoot.simulation.factory import choose_engine, make_engine
from surefoot.tasks.catalogue import find_task
from surefoot.tasks.wrappers import steps_per_second

REPEAT, FRAME_STACK = 3, 4
OPTIONS = {"action_repeat": REPEAT, "frame_stack": FRAME_STACK}


class ByHand:
    """One environment: repeats each action and stacks the last observations."""

    def __init__(self, id: str, **options) -> None:
        self.env = gymnasium.make(id, **options)

    def reset(self, seed: int | None) -> np.ndarray:
        first = self.env.reset(seed=seed)[0]
        self.seen = [first] * FRAME_STACK
        return np.concatenate(self.seen)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        rewards = []
        for _ in range(REPEAT):
            observation, reward, terminated, truncated, _ = self.env.step(action)
            rewards.append(reward)
            if terminated or truncated:
                break
        self.seen = [*self.seen[1:], observation]
        return np.concatenate(self.seen), sum(rewards), terminated, truncated


@pytest.mark.parametrize("task, limit", [("BipedalWalker-v3", None), ("Hopper-v5", None), ("Pendulum-v1", 20)])
def test_engine_equals_environments_stepped_by_hand(task: str, limit: int | None) -> None:
    own = {} if limit is None else {"max_episode_steps": limit}  # 20 steps end within the seventh action
    info = find_task(task, OPTIONS | own)
    engine = make_engine("processes", info, 2, 2)
    envs = [ByHand(task, **own) for _ in range(2)]
    random = np.random.default_rng(0)
    try:
        seen, _ = engine.reset(seed=5)
        np.testing.assert_array_equal(seen, [np.float32(env.reset(5 + i)) for i, env in enumerate(envs)])
        finished, ends = [False, False], 0
        for _ in range(120):
            action = random.uniform(-1, 1, (2, info.action_size)).astype(np.float32)
            actual = engine.step(action)[:4]
            for i, env in enumerate(envs):
                expected = (env.reset(None), 0.0, False, False) if finished[i] else env.step(action[i])
                for found, value in zip(actual, expected, strict=True):
                    np.testing.assert_allclose(found[i], value, rtol=1e-6, atol=1e-6)
                finished[i] = expected[2] or expected[3]
                ends += finished[i]
        assert ends
    finally:
        engine.close()


def test_sizes_and_time_limits_count_the_policys_steps() -> None:
    plain, info = find_task("bipedal-walker"), find_task("bipedal-walker", OPTIONS)
    assert (info.observation_size, info.max_episode_steps) == (FRAME_STACK * 24, 534)  # 1600 / 3, rounded up
    assert (info.action_repeat, info.frame_stack, info.is_wrapped) == (REPEAT, FRAME_STACK, True)
    assert (plain.action_repeat, plain.frame_stack, plain.is_wrapped) == (1, 1, False)
    assert info.env_options == {} and info.options == OPTIONS


def test_a_fall_is_detected_with_repeated_actions() -> None:
    info = find_task("bipedal-walker", OPTIONS)
    assert info.falls(np.array([True, True, False]), np.array([-99.2, 0.3, -99.2])).tolist() == [True, False, False]


@pytest.mark.parametrize("value", [0, 101, 2.5, "3", True])
def test_a_wrong_number_is_a_one_line_error(value) -> None:
    with pytest.raises(InputError, match=r"task 'ant': action_repeat = .*: (input )?should be "):
        find_task("ant", {"action_repeat": value})


@pytest.mark.skipif(not envpool.installed(), reason=f"EnvPool is not installed; {envpool.INSTALL}")
def test_envpool_equals_an_unwrapped_pool_stacked_by_hand() -> None:
    """The reference is a pool without wrappers and with the same seeds, stepped and stacked by hand."""
    num_envs, limit = 3, {"max_episode_steps": 70}
    info = find_task("BipedalWalker-v3", OPTIONS | limit)
    assert choose_engine("auto", info) == "envpool" and info.max_episode_steps == 24
    engine = make_engine("envpool", info, num_envs, 2)
    plain = make_engine("envpool", find_task("BipedalWalker-v3", limit), num_envs, 2)
    random = np.random.default_rng(0)
    try:
        seen = engine.begin(5)
        sim_output = plain.begin(5)
        stacks = [[row] * FRAME_STACK for row in sim_output[:, :24]]
        finished, ends = np.zeros(num_envs, bool), np.zeros(2, int)
        resting = np.zeros(num_envs, bool)
        for _ in range(150):
            np.testing.assert_array_equal(seen[~resting, :-3], np.reshape(stacks, (num_envs, -1))[~resting])
            resting = random.random(num_envs) < 0.2
            action = random.uniform(-1, 1, (num_envs, 4)).astype(np.float32)
            seen = engine.advance(action, finished, resting if resting.any() else None)
            expected, begun = np.zeros((num_envs, 27), np.float32), finished.copy()
            for env in np.flatnonzero(~resting):
                only = np.arange(num_envs) != env
                for _ in range(1 if begun[env] else REPEAT):
                    output = plain.advance(action, finished, only)[env]
                    expected[env] = [*output[:24], expected[env, 24] + output[24], *output[25:]]
                    finished[env] = output[25:].any()
                    if finished[env]:
                        break
                stacks[env] = [output[:24]] * FRAME_STACK if begun[env] else [*stacks[env][1:], output[:24]]
            np.testing.assert_allclose(seen[~resting, -3:], expected[~resting, -3:], rtol=1e-5, atol=1e-5)
            ends += expected[:, 25:].astype(int).sum(0)
        assert ends.all(), "falls and time limits"
    finally:
        engine.close()
        plain.close()


@pytest.mark.parametrize("limit", [20, 1000])  # 20 steps end within the seventh action; or Hopper falls
def test_batch_repeats_actions_as_the_wrapper_does(limit: int, assert_matches_single_environments) -> None:
    info = find_task("Hopper-v5", {"action_repeat": REPEAT, "max_episode_steps": limit})
    assert choose_engine("auto", info) == "batch"
    assert_matches_single_environments(info, steps=60, first=1e-5, rtol=1e-4, atol=1e-4, reward_rtol=1e-4)


def test_batch_does_not_stack_observations() -> None:
    info = find_task("half-cheetah", {"frame_stack": 2})
    assert choose_engine("auto", info) == ("envpool" if envpool.installed() else "processes")
    with pytest.raises(InputError, match=r"engine 'batch' cannot simulate .* no frame_stack"):
        choose_engine("batch", info)
    with pytest.raises(InputError, match="use 'auto'"):
        make_recipe("ant", None, {"wrappers.frame_stack": 2, "engine.name": "batch"})


def test_mirror_image_of_stacked_observations() -> None:
    one, many = (find_task("bipedal-walker", options).mirror for options in ({}, {"frame_stack": 3}))
    observations = np.random.default_rng(0).normal(size=(7, 3, 24)).astype(np.float32)
    found = many.observation(observations.reshape(7, 72)).reshape(7, 3, 24)
    np.testing.assert_array_equal(found, one.observation(observations))
    np.testing.assert_array_equal(many.action(observations[:, 0, :4]), one.action(observations[:, 0, :4]))


@pytest.mark.parametrize("algorithm", ["ppo", pytest.param("sac", marks=pytest.mark.slow)])
def test_a_policy_file_contains_its_wrappers(tmp_path: Path, algorithm: str) -> None:
    small: dict[str, object] = {
        "training.steps": 512,
        "training.evaluation_episodes": 1,
        "engine.num_envs": 2,
        "policy.actor": [8],
    }
    small |= {"ppo.horizon": 64, "ppo.minibatch_size": 64} if algorithm == "ppo" else {"sac.learning_starts": 450}
    view = {"wrappers.action_repeat": 2, "wrappers.frame_stack": 3}
    recipe = make_recipe("Pendulum-v1", None, {"algorithm": algorithm} | small | view)
    outcome = train_recipe(recipe, root=tmp_path)
    policy = load_policy(outcome.folder.policy_file)
    assert policy.task_options == {"action_repeat": 2, "frame_stack": 3}
    assert policy.predict(np.zeros(9))[0].shape == (1,)
    for task in (None, "Pendulum-v1"):
        found = evaluate_policy(policy, episodes=2, task=task)
        assert found["task_options"] == policy.task_options
        assert found["length"]["mean"] == 100  # 200 steps, by twos


@pytest.mark.parametrize(
    "metadata, expected",
    [({"render_fps": 50}, 50), ({"render_fps": "12"}, 12), ({}, 30)]
    + [({"render_fps": rate}, 30) for rate in (None, 0, -5, np.nan, np.inf, 1e9, "fast", [25])],
)
def test_a_frame_rate_that_is_no_rate_is_30(metadata: dict, expected: float) -> None:
    env = gymnasium.Env()
    env.metadata = metadata
    assert steps_per_second(env) == expected
