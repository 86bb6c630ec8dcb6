"""Episodes on engines against a plain loop over Gymnasium environments with the same policy and seeds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.evaluation import episodes
from surefoot.evaluation.episodes import (
    CONFIRMATION_SEEDS,
    EVALUATION_SEEDS,
    SELECTION_SEEDS,
    EpisodeRunner,
    Episodes,
    run_episodes,
)
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Controller, Policy, new_policy
from surefoot.tasks.catalogue import TaskInfo, find_task, make_env

SEED = 77
SHAKEN = {"reset_noise_scale": 0.1}  # so that episodes have different lengths


def untrained(info: TaskInfo) -> Policy:
    """A policy with small random weights, so that rounding errors do not grow into other episodes."""
    settings = PolicySettings(actor=(8,), critic=(4,))
    bounds = info.action_low, info.action_high
    policy = new_policy(jax.random.PRNGKey(3), info.name, info.observation_size, *bounds, settings, info.options)
    random = np.random.default_rng(3)
    network = jax.tree.map(
        lambda x: jnp.asarray(random.normal(scale=0.1, size=x.shape), jnp.float32), policy.controller.network
    )
    size = info.observation_size
    normaliser = Normaliser(jnp.full(size, 0.1), jnp.full(size, 2.0), jnp.float32(1000))
    policy.controller = Controller(network, normaliser)
    return policy


def plain_episodes(info: TaskInfo, policy: Policy, envs: int, each: int, seed: int) -> list[tuple]:
    """Returns, lengths, terminated and last rewards of `each` episodes per environment, by environment."""
    episodes = []
    for index in range(envs):
        env = make_env(info)
        for episode in range(each):
            observation, _ = env.reset(seed=seed + index if episode == 0 else None)
            total, length, done = 0.0, 0, False
            while not done:
                action, _ = policy.predict(observation)
                observation, reward, terminated, truncated, _ = env.step(action)
                total += float(reward)
                length += 1
                done = terminated or truncated
            episodes.append((total, length, terminated, reward))
        env.close()
    return episodes


def assert_equal(result: Episodes | None, expected: list[tuple]) -> None:
    totals, lengths, terminated, _ = (np.array(x) for x in zip(*expected, strict=True))
    assert result is not None
    np.testing.assert_array_equal(result.lengths, lengths)
    np.testing.assert_array_equal(result.terminated, terminated)
    np.testing.assert_allclose(result.returns, totals, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", ["Hopper-v5", "Walker2d-v5"])
def test_episodes_that_end_in_falls_equal_a_plain_loop(task: str) -> None:
    info = find_task(task, SHAKEN)
    policy = untrained(info)
    result = run_episodes(policy, "batch", info, episodes=6, seed=SEED)
    assert result is not None
    assert_equal(result, plain_episodes(info, policy, envs=6, each=1, seed=SEED))
    assert len(np.unique(result.lengths)) > 1, "the episodes must differ for the comparison to mean anything"
    assert result.terminated.all()
    np.testing.assert_array_equal(result.falls, result.terminated)


def test_episodes_that_end_at_the_time_limit_equal_a_plain_loop() -> None:
    info = find_task("half-cheetah", {"max_episode_steps": 25})
    policy = untrained(info)
    result = run_episodes(policy, "batch", info, episodes=4, seed=SEED)
    assert_equal(result, plain_episodes(info, policy, envs=4, each=1, seed=SEED))
    np.testing.assert_array_equal(result.lengths, 25)
    assert not result.terminated.any()
    assert result.falls is None


def test_episodes_of_an_equivariant_policy_equal_a_plain_loop() -> None:
    info = find_task("ant", {"max_episode_steps": 25})
    policy = untrained(info)
    plain = run_episodes(policy, "batch", info, episodes=3, seed=SEED)
    policy = untrained(info)
    policy.controller = policy.controller._replace(mirror=info.mirror)
    result = run_episodes(policy, "batch", info, episodes=3, seed=SEED)
    assert_equal(result, plain_episodes(info, policy, envs=3, each=1, seed=SEED))
    assert (np.abs(result.returns - plain.returns) > 1e-3).all()


@pytest.mark.parametrize("engine", ["batch", "processes"])
def test_episodes_without_a_time_limit_are_cut_off(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "MAX_STEPS", 5)
    monkeypatch.setattr(episodes, "_MAX_ENVS", 2)
    endless, limited = (find_task("Hopper-v5", SHAKEN | {"max_episode_steps": steps}) for steps in (-1, 5))
    assert endless.max_episode_steps is None
    result, expected = (run_episodes(untrained(info), engine, info, 6, SEED) for info in (endless, limited))
    np.testing.assert_array_equal(result.lengths, [5] * 6)
    np.testing.assert_array_equal(result.terminated, [False] * 6)
    np.testing.assert_array_equal(result.returns, expected.returns)


def test_episodes_may_end_in_falls_and_at_the_time_limit() -> None:
    unlimited = find_task("Hopper-v5", SHAKEN)
    fallen = run_episodes(untrained(unlimited), "batch", unlimited, 12, SEED)
    limit = int(np.median(fallen.lengths))
    info = find_task("Hopper-v5", SHAKEN | {"max_episode_steps": limit})
    result = run_episodes(untrained(info), "batch", info, 12, SEED)
    np.testing.assert_array_equal(result.lengths, np.minimum(fallen.lengths, limit))
    np.testing.assert_array_equal(result.terminated, fallen.lengths <= limit)
    np.testing.assert_array_equal(result.falls, result.terminated)
    assert result.falls is not None and 0 < result.falls.sum() < 12


def test_every_environment_runs_the_same_number_of_episodes() -> None:
    info = find_task("Hopper-v5", SHAKEN)
    policy = untrained(info)
    runner = EpisodeRunner("batch", info, 3, threads=1)
    expected = plain_episodes(info, policy, envs=3, each=3, seed=SEED)
    nine = runner.run(policy.controller, 9, SEED)
    assert nine is not None
    assert_equal(nine, expected)
    # The seven episodes are the first seven of the nine, independent of the order in which they end.
    seven = runner.run(policy.controller, 7, SEED)
    assert seven is not None
    np.testing.assert_array_equal(seven.returns, nine.returns[:7])
    np.testing.assert_array_equal(seven.lengths, nine.lengths[:7])
    other = runner.run(policy.controller, 9, SEED + 1000)
    assert other is not None and (other.returns != nine.returns).all()
    runner.close()


def test_a_round_can_be_cancelled() -> None:
    info = find_task("half-cheetah", {"max_episode_steps": 50})
    policy = untrained(info)
    runner = EpisodeRunner("batch", info, 2)
    answers = iter([False] * 10 + [True])
    assert runner.run(policy.controller, 2, SEED, lambda _: next(answers)) is None
    assert next(answers, None) is None, "it must stop when cancelled, and not before"
    # A cancelled round does not change the next one.
    after = runner.run(policy.controller, 2, SEED)
    fresh = run_episodes(policy, "batch", info, 2, SEED)
    assert after is not None
    np.testing.assert_array_equal(after.returns, fresh.returns)
    runner.close()


def test_ranges_of_seeds_are_disjoint() -> None:
    bounds = [0, SELECTION_SEEDS, CONFIRMATION_SEEDS, EVALUATION_SEEDS, 2**31]
    assert bounds == sorted(bounds)
    # The evaluator wraps around after 200 million seeds.
    assert min(CONFIRMATION_SEEDS - SELECTION_SEEDS, EVALUATION_SEEDS - CONFIRMATION_SEEDS) > 200_010_000
