"""Rollouts of on-policy algorithms, and the sums computed over them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from surefoot.packing import Layout


class Rollout(NamedTuple):
    """T + 1 consecutive steps of N environments.

    Row t holds the observation at step t, the action chosen there, and the outcome of the action of row t - 1. There is
    a transition from row t to row t + 1 unless row t ended an episode; then row t + 1 is the first of a new one.

    Attributes:
        observation: (T+1, N, D), raw.
        action: (T+1, N, A), the unclipped sample in units in which the task's bounds are -1 and 1.
        reward: (T+1, N), of the step that led to this row.
        terminated: (T+1, N) bool, the episode ended here in a terminal state.
        truncated: (T+1, N) bool, the episode ended here by its time limit.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array

    @property
    def mask(self) -> jax.Array:
        """(T, N) float32, 1 where a transition starts, 0 where an episode ended."""
        return (~self.finished[:-1]).astype(jnp.float32)

    @property
    def finished(self) -> jax.Array:
        """(T+1, N) bool, the episode ended here."""
        return self.terminated | self.truncated


@functools.cache
def rollout_layout(observation_size: int, action_size: int) -> Layout:
    """Return the layout of one packed step of a rollout."""
    return Layout(
        observation=observation_size, action=action_size, reward="scalar", terminated="flag", truncated="flag"
    )


def advantages(rollout: Rollout, reward: jax.Array, value: jax.Array, discount: float, gae_lambda: float) -> jax.Array:
    """Generalised advantage estimates, (T, N) (Schulman et al. 2016, equations 11 to 16).

    On truncation, bootstrap from the value of the final observation; on termination, from 0. The result is meaningless
    where `rollout.finished[t]`, because no transition starts there.

    Args:
        rollout: the ends of episodes.
        reward: (T+1, N), perhaps scaled.
        value: (T+1, N), values of the critic.
        discount: gamma.
        gae_lambda: lambda; 0 gives the one-step temporal difference.
    """
    delta = reward[1:] + discount * value[1:] * ~rollout.terminated[1:] - value[:-1]
    decay = discount * gae_lambda * ~rollout.finished[1:]
    return _linear_recurrence(decay, delta, reverse=True)


def discounted_sums(reward: jax.Array, finished: jax.Array, start: jax.Array, discount: float) -> jax.Array:
    """Running sums of rewards (T+1, N) within each episode, R_t = r_t + discount * R_{t-1}, at rows 1 to T: (T, N).

    `start` (N,) are the sums at row 0.
    """
    decay = discount * ~finished[:-1]
    first = reward[1:].at[0].add(decay[0] * start)
    return _linear_recurrence(decay, first, reverse=False)


def _linear_recurrence(factor: jax.Array, addend: jax.Array, reverse: bool) -> jax.Array:
    """Solve y_t = addend_t + factor_t * y_(t-1), or y_(t+1) in reverse, over axis 0."""

    def combine(first, second):
        return first[0] * second[0], second[1] + second[0] * first[1]

    return jax.lax.associative_scan(combine, (factor, addend), reverse=reverse)[1]
