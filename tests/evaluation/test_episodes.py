"""Evaluations against a plain loop over Gymnasium's environments with the same policy and seeds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.evaluation import episodes
from surefoot.evaluation.episodes import (
    CONFIRMATION_SEEDS,
    EVALUATION_SEEDS,
    SELECTION_SEEDS,
    TRAINING_SEED_BOUND,
    EpisodeRunner,
    Episodes,
    run_episodes,
)
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Policy, new_policy
from surefoot.tasks.catalogue import TaskInfo, find_task, make_env
from surefoot.tasks.symmetry import find_mirror

SEED = 77
SHAKEN = {"reset_noise_scale": 0.1}  # so that episodes have different lengths


def untrained(info: TaskInfo) -> Policy:
    """A policy that does something different in every state, gently: a wild one makes of the last bit a new course."""
    settings = PolicySettings(actor=(8,), critic=(4,))
    bounds = info.action_low, info.action_high
    policy = new_policy(jax.random.PRNGKey(3), info.name, info.observation_size, *bounds, settings, info.options)
    random = np.random.default_rng(3)
    policy.parameters = jax.tree.map(
        lambda x: jnp.asarray(random.normal(scale=0.1, size=x.shape), jnp.float32), policy.parameters
    )
    size = info.observation_size
    policy.normaliser = Normaliser(jnp.full(size, 0.1), jnp.full(size, 2.0), jnp.float32(1000))
    return policy


def plain_episodes(info: TaskInfo, policy: Policy, copies: int, each: int, seed: int) -> list[tuple]:
    """Return, lengths, terminated and last reward of `each` episodes of every copy, one copy after the other."""
    episodes = []
    for copy in range(copies):
        env = make_env(info)
        for episode in range(each):
            observation, _ = env.reset(seed=seed + copy if episode == 0 else None)
            total, length, over = 0.0, 0, False
            while not over:
                action, _ = policy.predict(observation)
                observation, reward, terminated, truncated, _ = env.step(action)
                total += float(reward)
                length += 1
                over = terminated or truncated
            episodes.append((total, length, terminated, reward))
        env.close()
    return episodes


def assert_equal(found: Episodes, wanted: list[tuple]) -> None:
    totals, lengths, terminated, _ = (np.array(x) for x in zip(*wanted, strict=True))
    np.testing.assert_array_equal(found.lengths, lengths)
    np.testing.assert_array_equal(found.terminated, terminated)
    np.testing.assert_allclose(found.returns, totals, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", ["Hopper-v5", "Walker2d-v5"])
def test_episodes_that_end_in_falls_equal_a_plain_loop(task: str) -> None:
    info = find_task(task, SHAKEN)
    policy = untrained(info)
    found = run_episodes(policy, "batch", info, episodes=6, seed=SEED)
    assert_equal(found, plain_episodes(info, policy, copies=6, each=1, seed=SEED))
    assert len(np.unique(found.lengths)) > 1, "the episodes must differ for the comparison to mean anything"
    assert found.terminated.all()
    np.testing.assert_array_equal(found.falls, found.terminated)


def test_episodes_that_a_time_limit_ends_equal_a_plain_loop() -> None:
    info = find_task("half-cheetah", {"max_episode_steps": 25})
    policy = untrained(info)
    found = run_episodes(policy, "batch", info, episodes=4, seed=SEED)
    assert_equal(found, plain_episodes(info, policy, copies=4, each=1, seed=SEED))
    np.testing.assert_array_equal(found.lengths, 25)
    assert not found.terminated.any()
    assert found.falls is None


def test_episodes_of_an_equivariant_policy_equal_a_plain_loop() -> None:
    info = find_task("ant", {"max_episode_steps": 25})
    policy = untrained(info)
    plain = run_episodes(policy, "batch", info, episodes=3, seed=SEED)
    policy = untrained(info)
    policy.mirror = find_mirror(info)
    found = run_episodes(policy, "batch", info, episodes=3, seed=SEED)
    assert_equal(found, plain_episodes(info, policy, copies=3, each=1, seed=SEED))
    assert (np.abs(found.returns - plain.returns) > 1e-3).all()


@pytest.mark.parametrize("engine", ["batch", "processes"])
def test_episodes_that_need_not_end_are_broken_off(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "MOST_STEPS", 5)
    monkeypatch.setattr(episodes, "_MOST_COPIES", 2)
    endless, limited = (find_task("Hopper-v5", SHAKEN | {"max_episode_steps": steps}) for steps in (-1, 5))
    assert endless.max_episode_steps is None
    found, wanted = (run_episodes(untrained(info), engine, info, 6, SEED) for info in (endless, limited))
    np.testing.assert_array_equal(found.lengths, [5] * 6)
    np.testing.assert_array_equal(found.terminated, [False] * 6)
    np.testing.assert_array_equal(found.returns, wanted.returns)


def test_a_fall_at_some_and_a_time_limit_at_others() -> None:
    unlimited = find_task("Hopper-v5", SHAKEN)
    fallen = run_episodes(untrained(unlimited), "batch", unlimited, 12, SEED)
    limit = int(np.median(fallen.lengths))
    info = find_task("Hopper-v5", SHAKEN | {"max_episode_steps": limit})
    found = run_episodes(untrained(info), "batch", info, 12, SEED)
    np.testing.assert_array_equal(found.lengths, np.minimum(fallen.lengths, limit))
    np.testing.assert_array_equal(found.terminated, fallen.lengths <= limit)
    np.testing.assert_array_equal(found.falls, found.terminated)
    assert found.falls is not None and 0 < found.falls.sum() < 12


def test_every_copy_runs_the_same_number_of_episodes() -> None:
    info = find_task("Hopper-v5", SHAKEN)
    policy = untrained(info)
    evaluator = EpisodeRunner("batch", info, 3, policy.settings, threads=1)
    wanted = plain_episodes(info, policy, copies=3, each=3, seed=SEED)
    nine = evaluator.run(policy.parameters, policy.normaliser, 9, SEED)
    assert nine is not None
    assert_equal(nine, wanted)
    # Seven episodes are seven of these nine, whichever were done first.
    seven = evaluator.run(policy.parameters, policy.normaliser, 7, SEED)
    assert seven is not None
    np.testing.assert_array_equal(seven.returns, nine.returns[:7])
    np.testing.assert_array_equal(seven.lengths, nine.lengths[:7])
    other = evaluator.run(policy.parameters, policy.normaliser, 9, SEED + 1000)
    assert other is not None and (other.returns != nine.returns).all()
    evaluator.close()


def test_an_evaluation_can_be_called_off() -> None:
    info = find_task("half-cheetah", {"max_episode_steps": 50})
    policy = untrained(info)
    evaluator = EpisodeRunner("batch", info, 2, policy.settings)
    asked = iter([False] * 10 + [True])
    assert evaluator.run(policy.parameters, policy.normaliser, 2, SEED, lambda: next(asked)) is None
    assert next(asked, None) is None, "it must stop when it is told to, and not before"
    # What was called off leaves nothing behind.
    after = evaluator.run(policy.parameters, policy.normaliser, 2, SEED)
    fresh = run_episodes(policy, "batch", info, 2, SEED)
    assert after is not None
    np.testing.assert_array_equal(after.returns, fresh.returns)
    evaluator.close()


def test_seeds_of_trainings_and_of_each_kind_of_evaluation_are_apart() -> None:
    bounds = [0, TRAINING_SEED_BOUND, SELECTION_SEEDS, CONFIRMATION_SEEDS, EVALUATION_SEEDS, 2**31]
    assert bounds == sorted(bounds)
    # As many as the loop can ask for: it wraps around after 200 million seeds.
    assert min(CONFIRMATION_SEEDS - SELECTION_SEEDS, EVALUATION_SEEDS - CONFIRMATION_SEEDS) > 200_010_000
