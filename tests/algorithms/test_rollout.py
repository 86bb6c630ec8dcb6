"""Advantages and returns against hand-computed numbers and against slow loops in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.algorithms.rollout import Rollout, advantages, discounted_sums, rollout_layout


def slow_advantages(reward, value, terminated, finished, discount, gae_lambda) -> np.ndarray:
    """Sum the discounted errors forwards from every row, up to the end of its episode: equation 16, term by term."""
    steps, num_envs = reward.shape[0] - 1, reward.shape[1]
    result = np.zeros((steps, num_envs))
    for copy in range(num_envs):
        for start in range(steps):
            for t in range(start, steps):
                coming = 0.0 if terminated[t + 1, copy] else value[t + 1, copy]
                error = reward[t + 1, copy] + discount * coming - value[t, copy]
                result[start, copy] += (discount * gae_lambda) ** (t - start) * error
                if finished[t + 1, copy]:
                    break
    return result


def random_rows(seed: int, steps: int, num_envs: int, end_share: float = 0.2):
    """Rewards, values and ends as an engine gives them: after an ended row comes a first one, with reward 0."""
    random = np.random.default_rng(seed)
    reward, value = random.normal(size=(2, steps + 1, num_envs))
    terminated, truncated = random.random((2, steps + 1, num_envs)) < end_share
    for t in range(1, steps + 1):
        first = terminated[t - 1] | truncated[t - 1]
        reward[t, first] = 0
        terminated[t, first] = truncated[t, first] = False
    return reward, value, terminated, truncated


def compute(reward, value, terminated, finished, discount, gae_lambda) -> np.ndarray:
    reward, value = (jnp.asarray(x, jnp.float32) for x in (reward, value))
    ends = (jnp.asarray(x) for x in (terminated, finished & ~terminated))
    rollout = Rollout(reward, reward, reward, *ends)  # neither observations nor actions matter
    return np.asarray(jax.jit(advantages)(rollout, reward, value, discount, gae_lambda))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.sampled_from([1, 2, 7, 33]),
    discount=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
)
def test_advantages_equal_a_slow_loop(seed: int, steps: int, discount: float, gae_lambda: float) -> None:
    reward, value, terminated, truncated = random_rows(seed, steps, num_envs=3)
    finished = terminated | truncated
    found = compute(reward, value, terminated, finished, discount, gae_lambda)
    expected = slow_advantages(reward, value, terminated, finished, discount, gae_lambda)
    real = ~finished[:-1]
    np.testing.assert_allclose(found[real], expected[real], rtol=1e-4, atol=1e-4)


def test_advantages_equal_numbers_computed_by_hand() -> None:
    # discount 0.5, lambda 0.5; columns: goes on, terminates at row 2, is cut by the time limit at row 2
    reward = np.array([[9, 9, 9], [1, 1, 1], [2, 2, 2], [3, 0, 0]])
    value = np.array([[4, 4, 4], [6, 6, 6], [8, 8, 8], [10, 10, 10]])
    terminated = np.zeros((4, 3), bool)
    terminated[2, 1] = True
    finished = terminated.copy()
    finished[2, 2] = True
    found = compute(reward, value, terminated, finished, 0.5, 0.5)
    # errors, goes on:   1+0.5*6-4 = 0, 2+0.5*8-6 = 0, 3+0.5*10-8 = 0
    np.testing.assert_array_equal(found[:, 0], [0, 0, 0])
    # terminated: nothing follows row 2:   2-6 = -4;  0 + 0.25*-4 = -1
    np.testing.assert_array_equal(found[:2, 1], [-1, -4])
    # time limit: the value of row 2 stands for what would have come, as if it went on
    np.testing.assert_array_equal(found[:2, 2], [0, 0])


def test_truncation_is_bootstrapped_and_termination_is_not() -> None:
    reward = np.zeros((2, 2))
    value = np.array([[0.0, 0.0], [100.0, 100.0]])
    terminated = np.array([[False, False], [True, False]])
    finished = np.array([[False, False], [True, True]])
    np.testing.assert_allclose(compute(reward, value, terminated, finished, 0.9, 0.95), [[0.0, 90.0]], rtol=1e-6)


def test_a_terminated_and_truncated_row_counts_as_terminated() -> None:
    reward, value = np.array([[0.0], [1.0]]), np.array([[0.0], [100.0]])
    both = np.array([[False], [True]])
    np.testing.assert_array_equal(compute(reward, value, both, both, 0.9, 0.95), [[1.0]])


def test_lambda_0_is_the_temporal_difference_of_one_step() -> None:
    reward, value, terminated, truncated = random_rows(1, 50, 4)
    found = compute(reward, value, terminated, terminated | truncated, 0.97, 0.0)
    expected = reward[1:] + 0.97 * np.where(terminated[1:], 0, value[1:]) - value[:-1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_lambda_1_is_the_monte_carlo_return_less_the_value() -> None:
    random = np.random.default_rng(2)
    reward, value = random.normal(size=(2, 21, 2))
    terminated = np.zeros((21, 2), bool)
    terminated[-1, 0] = True  # copy 0 ends in the last row; copy 1 goes on, so its last value stands for the rest
    found = compute(reward, value, terminated, terminated, 0.9, 1.0)
    for copy, rest in ((0, 0.0), (1, value[-1, 1])):
        total = rest
        for t in reversed(range(20)):
            total = reward[t + 1, copy] + 0.9 * total
            np.testing.assert_allclose(found[t, copy], total - value[t, copy], rtol=1e-4, atol=1e-5)


def test_episodes_do_not_influence_the_one_before() -> None:
    reward, value, terminated, truncated = random_rows(3, 30, 2, end_share=0.0)
    terminated[10], truncated[20] = True, True
    finished = terminated | truncated
    before = compute(reward, value, terminated, finished, 0.99, 0.95)
    reward[21:] += 1e3  # the episode that begins in row 21
    value[21:] -= 1e3
    after = compute(reward, value, terminated, finished, 0.99, 0.95)
    np.testing.assert_array_equal(after[:20], before[:20])
    assert (after[21:] != before[21:]).all()


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_discounted_sums_equal_a_slow_loop(discount: float) -> None:
    reward, _, terminated, truncated = random_rows(4, 40, 3)
    finished = terminated | truncated
    start = np.array([10.0, -5.0, 0.0])
    found = discounted_sums(jnp.float32(reward), jnp.asarray(finished), jnp.float32(start), discount)
    assert found.shape == (40, 3)
    for copy in range(3):
        total = start[copy]
        for t in range(1, 41):
            total = (0.0 if finished[t - 1, copy] else discount * total) + reward[t, copy]
            np.testing.assert_allclose(found[t - 1, copy], total, rtol=1e-4, atol=1e-5)


def test_sums_over_two_rollouts_equal_those_over_one() -> None:
    reward, _, terminated, truncated = random_rows(5, 40, 3)
    reward, finished = jnp.float32(reward), jnp.asarray(terminated | truncated)
    whole = discounted_sums(reward, finished, jnp.zeros(3), 0.95)
    first = discounted_sums(reward[:18], finished[:18], jnp.zeros(3), 0.95)
    second = discounted_sums(reward[17:], finished[17:], first[-1], 0.95)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-5, atol=1e-5)


def test_packed_rollouts_are_unpacked_unchanged() -> None:
    random = np.random.default_rng(6)
    observation, action, reward = random.normal(size=(5, 3)), random.normal(size=(5, 2)), random.normal(size=5)
    terminated, truncated = np.array([1, 0, 1, 0, 0], bool), np.array([0, 1, 1, 0, 0], bool)
    fields = [jnp.asarray(x, jnp.float32) for x in (observation, action, reward)]
    layout = rollout_layout(3, 2)
    row = layout.pack(Rollout(*fields, jnp.asarray(terminated), jnp.asarray(truncated))._asdict(), jnp)
    assert row.shape == (5, 3 + 2 + 3)
    rollout = Rollout(**layout.unpack(jnp.stack([row, row])))
    for name, expected in zip(rollout._fields, (*fields, terminated, truncated), strict=True):
        np.testing.assert_array_equal(getattr(rollout, name), np.stack([expected, expected]), err_msg=name)
