"""What an on-policy algorithm learns from: rows collected step by step, and the returns computed over them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Rollout(NamedTuple):
    """T + 1 consecutive moments of N copies of a task.

    Row t holds what was observed at moment t, the action chosen there, and what led to it. The transition from row t
    to row t + 1 is real unless row t ended an episode, for then row t + 1 is the first of a new one.

    Attributes:
        observation: (T+1, N, D), raw.
        action: (T+1, N, A), the unclipped sample in units in which the task's bounds are -1 and 1.
        reward: (T+1, N), earned on the way to this row.
        terminated: (T+1, N) bool, the episode ended here by what happened in it.
        truncated: (T+1, N) bool, the episode ended here by its time limit.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


def pack_row(
    observation: jax.Array, action: jax.Array, reward: jax.Array, terminated: jax.Array, truncated: jax.Array
) -> jax.Array:
    """Pack one moment of all copies into a (N, D + A + 3) float32 row."""
    flags = jnp.stack([reward, terminated.astype(jnp.float32), truncated.astype(jnp.float32)], axis=-1)
    return jnp.concatenate([observation, action, flags], axis=-1)


def unpack_rows(rows: jax.Array, observation_size: int) -> Rollout:
    """Read (T+1, N, D + A + 3) rows."""
    observation, action, flags = jnp.split(rows, [observation_size, rows.shape[-1] - 3], axis=-1)
    return Rollout(observation, action, flags[..., 0], flags[..., 1] > 0.5, flags[..., 2] > 0.5)


def advantages(
    reward: jax.Array,
    value: jax.Array,
    terminated: jax.Array,
    finished: jax.Array,
    discount: float,
    gae_lambda: float,
) -> jax.Array:
    """Generalised advantage estimates (Schulman et al. 2016, equations 11 to 16).

    A time limit is no end of the world: the last observation's own value stands for what would have come. A
    termination is: nothing comes after it. Both stop the sum.

    Args:
        reward: (T+1, N), earned on the way to each row.
        value: (T+1, N), the critic's values.
        terminated: (T+1, N) bool.
        finished: (T+1, N) bool, terminated or truncated.
        discount: gamma.
        gae_lambda: lambda; 0 gives the one-step temporal difference.

    Returns:
        (T, N); meaningless where `finished[t]`, as no real transition starts there.
    """
    error = reward[1:] + discount * value[1:] * ~terminated[1:] - value[:-1]
    carry = discount * gae_lambda * ~finished[1:]
    return _linear_recurrence(carry, error, reverse=True)


def discounted_sums(reward: jax.Array, finished: jax.Array, start: jax.Array, discount: float) -> jax.Array:
    """Sum rewards backwards in time, R_t = r_t + discount * R_{t-1}, afresh in each episode.

    Args:
        reward: (T+1, N); row 0 belongs to what was summed before.
        finished: (T+1, N) bool.
        start: (N,), the sums at row 0.
        discount: gamma.

    Returns:
        (T, N), the sums at rows 1 to T.
    """
    carry = discount * ~finished[:-1]
    first = reward[1:].at[0].add(carry[0] * start)
    return _linear_recurrence(carry, first, reverse=False)


def _linear_recurrence(factor: jax.Array, addend: jax.Array, reverse: bool) -> jax.Array:
    """Solve y_t = addend_t + factor_t * y_(t-1), or y_(t+1) in reverse, over axis 0."""

    def combine(earlier, later):
        return earlier[0] * later[0], later[1] + later[0] * earlier[1]

    return jax.lax.associative_scan(combine, (factor, addend), reverse=reverse)[1]
