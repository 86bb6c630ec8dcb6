"""Replay against a history in plain lists, in which a slow loop finds every transition."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.algorithms.replay import Batch, Replay
from surefoot.algorithms.rollout import Rollout, rollout_layout

NUM_ENVS, OBSERVATION, ACTION = 3, 4, 2
DISCOUNT = 0.9


class Step(NamedTuple):
    """One step of one environment."""

    observation: np.ndarray
    action: np.ndarray
    reward: float
    terminated: bool
    truncated: bool


def play(seed: int, length: int) -> list[list[Step]]:
    """Create episodes of 1 to about 10 steps; observations start with the environment and the time."""
    random = np.random.default_rng(seed)
    history: list[list[Step]] = []
    for env in range(NUM_ENVS):
        rows: list[Step] = []
        for t in range(length):
            first = not rows or rows[-1].terminated or rows[-1].truncated
            observation = np.array([env, t, *random.normal(size=OBSERVATION - 2)], np.float32)
            reward = 0.0 if first else float(np.float32(random.normal()))
            # Sometimes both at once.
            terminated, truncated = (not first and random.random() < 0.1 for _ in range(2))
            action = random.uniform(-1, 1, ACTION).astype(np.float32)
            rows.append(Step(observation, action, reward, terminated, truncated))
        history.append(rows)
    return history


def packed(history: list[list[Step]], t: int) -> np.ndarray:
    observation, action, reward, terminated, truncated = zip(*(rows[t] for rows in history), strict=True)
    fields = (jnp.asarray(np.array(x)) for x in (observation, action, np.float32(reward), terminated, truncated))
    return rollout_layout(OBSERVATION, ACTION).pack(Rollout(*fields)._asdict(), np)


def filled(history: list[list[Step]], capacity: int, length: int | None = None) -> Replay:
    replay = Replay(capacity, NUM_ENVS, OBSERVATION, ACTION)
    for t in range(len(history[0]) if length is None else length):
        replay.add(packed(history, t))
    return replay


def transition(rows: list[Step], t: int, steps: int) -> tuple[float, int, float]:
    """Return reward, time of the last row and discount of the transition that starts at time t."""
    assert not rows[t].terminated and not rows[t].truncated, "no transition starts where an episode ended"
    total = 0.0
    for k in range(1, steps + 1):
        row = rows[t + k]
        total += DISCOUNT ** (k - 1) * row.reward
        if row.terminated:
            return total, t + k, 0.0
        if row.truncated or t + k == len(rows) - 1 or k == steps:
            return total, t + k, DISCOUNT**k
    raise AssertionError


def starts(history: list[list[Step]], oldest: int) -> set[tuple[int, int]]:
    """Return environment and time of all transitions still in the replay."""
    length = range(oldest, len(history[0]) - 1)
    return {
        (env, t) for env, rows in enumerate(history) for t in length if not (rows[t].terminated or rows[t].truncated)
    }


def check(batch: Batch, history: list[list[Step]], steps: int) -> list[tuple[int, int]]:
    """Compare a sampled batch with the true transitions, and return where those start."""
    found = []
    flat = [x.reshape(-1, *x.shape[2:]) for x in batch]
    for observation, action, reward, next_observation, discount in zip(*flat, strict=True):
        env, t = int(observation[0]), int(observation[1])
        rows = history[env]
        np.testing.assert_array_equal(observation, rows[t].observation)
        np.testing.assert_array_equal(action, rows[t].action)
        expected_reward, last, expected_discount = transition(rows, t, steps)
        np.testing.assert_allclose(reward, expected_reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(next_observation, rows[last].observation)
        np.testing.assert_allclose(discount, expected_discount, rtol=1e-6)
        found.append((env, t))
    return found


def same(one: Batch, other: Batch) -> None:
    for name, x, y in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("length", [2, 17, 21, 22, 50, 63])
def test_samples_are_all_true_transitions_and_nothing_else(length: int, steps: int) -> None:
    capacity = 60  # 21 rows: not full, exactly full, overwritten
    history = play(length, length)
    replay = filled(history, capacity)
    assert replay.count == min(length, 21)
    batch = replay.sample(np.random.default_rng(0), 4, 250, steps, DISCOUNT)
    shapes = [(OBSERVATION,), (ACTION,), (), (OBSERVATION,), ()]
    assert [x.shape for x in batch] == [(4, 250, *shape) for shape in shapes]
    assert all(x.dtype == np.float32 for x in batch)
    assert set(check(batch, history, steps)) == starts(history, length - replay.count)


def test_n_step_rewards_shortened_by_an_end_have_every_length() -> None:
    history = play(1, 40)
    batch = filled(history, 1000).sample(np.random.default_rng(0), 1, 2000, 3, DISCOUNT)
    check(batch, history, 3)
    found = set(np.round(batch.discount.ravel().astype(float), 4))
    assert found == {0.0, 0.9, 0.81, 0.729}


@pytest.mark.parametrize("steps", [1, 3])
def test_action_costs_are_subtracted_from_the_reward_of_the_action(steps: int) -> None:
    history = play(1, 40)
    replay = filled(history, 1000)
    cost = np.arange(1, 1 + ACTION, dtype=np.float32)
    free = replay.sample(np.random.default_rng(0), 1, 500, steps, DISCOUNT)
    batch = replay.sample(np.random.default_rng(0), 1, 500, steps, DISCOUNT, cost)
    for i in range(500):
        env, t = (int(x) for x in batch.observation[0, i, :2])
        expected, factor = 0.0, 1.0
        for step in range(t, t + steps):
            expected += factor * float(np.abs(history[env][step].action) @ cost)
            factor *= DISCOUNT
            after = history[env][step + 1]
            if after.terminated or after.truncated or step + 1 == 39:
                break
        assert free.reward[0, i] - batch.reward[0, i] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    same(free._replace(reward=batch.reward), batch)


def test_sampling_is_uniform() -> None:
    history = play(2, 40)
    replay = filled(history, 60)
    count = 30_000
    batch = replay.sample(np.random.default_rng(0), 30, count // 30, 1, DISCOUNT)
    where, times = np.unique(batch.observation.reshape(count, -1)[:, :2], axis=0, return_counts=True)
    choices = len(starts(history, 40 - 21))
    assert len(where) == choices
    expected = count / choices
    # Chi-square with f degrees of freedom has mean f and variance 2 f.
    freedom = choices - 1
    assert abs(np.square(times - expected).sum() / expected - freedom) < 4 * np.sqrt(2 * freedom)


def test_observations_are_sampled_from_all_rows() -> None:
    history = play(3, 40)
    found = filled(history, 60).observations(np.random.default_rng(0), 2000)
    assert found.shape == (2000, OBSERVATION)
    for observation in found:
        np.testing.assert_array_equal(observation, history[int(observation[0])][int(observation[1])].observation)
    assert {(int(x[0]), int(x[1])) for x in found} == {(env, t) for env in range(NUM_ENVS) for t in range(19, 40)}


@pytest.mark.parametrize("length", [2, 12, 21, 42, 50])
@pytest.mark.parametrize("before", [0, 5, 30])
def test_a_restored_replay_continues_like_the_original(length: int, before: int) -> None:
    """Also if the ring was overwritten, or the second one had rows `before`."""
    history = play(4, 80)
    first = filled(history, 60, length)
    second = filled(play(5, before), 60)
    second.restore({"rows": first.state()["rows"].copy()})
    assert second.count == first.count
    for t in range(length, 80):
        same(*(replay.sample(np.random.default_rng(t), 2, 20, 3, DISCOUNT) for replay in (first, second)))
        for replay in (first, second):
            replay.add(packed(history, t))
    np.testing.assert_array_equal(first.state()["rows"], second.state()["rows"])
    check(second.sample(np.random.default_rng(0), 1, 500, 3, DISCOUNT), history, 3)


def test_the_state_starts_with_the_oldest_row() -> None:
    history = play(6, 50)
    expected = np.stack([packed(history, t) for t in range(50 - 21, 50)])
    np.testing.assert_array_equal(filled(history, 60).state()["rows"], expected)


@pytest.mark.parametrize("length", [10, 21, 30])
def test_truncating_separates_the_next_rows(length: int) -> None:
    """With 21 rows the newest is the last of the ring."""
    history = play(7, 38)
    for rows in history:
        rows[length - 1] = rows[length - 1]._replace(terminated=False, truncated=False)
    replay = filled(history, 60, length)
    replay.truncate()
    for rows in history:
        rows[length - 1] = rows[length - 1]._replace(truncated=True)
    for t in range(length, 38):
        replay.add(packed(history, t))
    batch = replay.sample(np.random.default_rng(0), 1, 2000, 3, DISCOUNT)
    assert set(check(batch, history, 3)) == starts(history, 38 - 21)


@pytest.mark.parametrize("length", [0, 1])
def test_sampling_without_a_transition_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="no transition yet"):
        filled(play(8, 1), 60, length).sample(np.random.default_rng(0), 1, 1, 1, DISCOUNT)


def test_sampling_from_ends_only_is_an_error() -> None:
    replay = filled(play(9, 1), 60)
    replay.truncate()
    replay.add(packed(play(9, 1), 0))
    with pytest.raises(ValueError, match="no transition yet"):
        replay.sample(np.random.default_rng(0), 1, 1, 1, DISCOUNT)


@pytest.mark.parametrize("shape", [(22, NUM_ENVS, 9), (5, NUM_ENVS + 1, 9), (5, NUM_ENVS, 10)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    replay = Replay(60, NUM_ENVS, OBSERVATION, ACTION)
    with pytest.raises(ValueError, match="do not fit"):
        replay.restore({"rows": np.zeros(shape, np.float32)})
    replay.restore({"rows": np.zeros((21, NUM_ENVS, 9), np.float32)})


def test_memory_is_that_of_the_rows() -> None:
    # 20 transitions per environment need 21 rows of 9 numbers, and a capacity of 61 is rounded up to 63.
    assert Replay(60, NUM_ENVS, OBSERVATION, ACTION).nbytes == 21 * NUM_ENVS * 9 * 4
    assert Replay(61, NUM_ENVS, OBSERVATION, ACTION).nbytes == 22 * NUM_ENVS * 9 * 4
