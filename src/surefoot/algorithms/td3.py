"""Twin delayed deep deterministic policy gradients, TD3, and DDPG, which is TD3 without its extras.

    repeat
        act with exploration noise; put the transition (s, a, r, s') into the replay
        draw a batch of transitions
        a' = actor'(s') + clip(noise, -c, c)                                  primes mark target networks
        y  = r + gamma min_i Q'_i(s', a')
        critics descend   sum_i (Q_i(s, a) - y)^2
        every `policy_delay`-th time
            the actor ascends   Q_1(s, actor(s))
            target networks move a fraction tau towards the online networks

TD3 has two critics, target noise and a delay of 2 (Fujimoto et al. 2018, arXiv 1802.09477). DDPG has one critic, no
target noise and no delay (Lillicrap et al. 2016, arXiv 1509.02971). `off_policy.update` is the loop.
"""

import dataclasses

import jax
import jax.numpy as jnp
from pydantic import Field

from surefoot.algorithms import off_policy
from surefoot.algorithms.algorithm import Algorithm
from surefoot.algorithms.off_policy import (
    NETWORKS,
    PARAMETER_SIGMA,
    Metrics,
    OffPolicySettings,
    OffPolicyState,
    Rule,
    implied_policy,
    warm_start,
)
from surefoot.algorithms.replay import Batch
from surefoot.policies.networks import ActorCritic, BatchStatistics, PolicySettings


class TD3Settings(OffPolicySettings):
    """Twin delayed DDPG (Fujimoto et al. 2018, arXiv 1802.09477)."""

    critics: int = Field(2, ge=1, le=10)
    """Number of critics; targets use the smallest value."""
    policy_delay: int = Field(2, ge=1, le=1000)
    """Critic updates per update of actor and target networks."""
    target_noise: float = Field(0.2, ge=0, le=10)
    """Standard deviation of the noise on target actions."""
    target_noise_clip: float = Field(0.5, ge=0, le=10)
    """Limit of the noise on target actions."""


class DDPGSettings(TD3Settings):
    """Deep deterministic policy gradients (Lillicrap et al. 2016, arXiv 1509.02971): TD3 without its extras."""

    critics: int = Field(1, ge=1, le=10)
    """Number of critics; targets use the smallest value."""
    policy_delay: int = Field(1, ge=1, le=1000)
    """Critic updates per update of actor and target networks."""
    target_noise: float = Field(0.0, ge=0, le=10)
    """Standard deviation of the noise on target actions."""


def next_action(
    state: OffPolicyState, batch: Batch, key: jax.Array, settings: TD3Settings
) -> tuple[jax.Array, jax.Array]:
    """Return the target actor's actions (B, A) with clipped noise, and no bonus."""
    actor = state.target_actor if settings.choices.target_networks else state.actor
    noise = settings.target_noise * jax.random.normal(key, batch.action.shape)
    noise = jnp.clip(noise, -settings.target_noise_clip, settings.target_noise_clip)
    action = actor.distribution(batch.next_observation).mode()
    return jnp.clip(action + noise, -1, 1), jnp.zeros(len(action))


def actor_loss(
    actor: ActorCritic, state: OffPolicyState, batch: Batch, key: jax.Array, settings: TD3Settings
) -> tuple[jax.Array, tuple[Metrics, list[BatchStatistics]]]:
    """The loss -Q_1(s, actor(s)), averaged over states."""
    del key, settings  # the actor is deterministic
    statistics: list[BatchStatistics] = []
    action = actor.distribution(batch.observation, statistics).mode()
    (q,) = state.critics[:1](batch.observation, action)
    return -q.mean(), ({}, statistics)


RULE = Rule(next_action, actor_loss)


def check(name: str, settings: TD3Settings, policy: PolicySettings, num_envs: int) -> None:
    """Make sure that the settings fit each other; see `Algorithm.check`."""
    if policy.squash == "tanh_gaussian":
        raise ValueError(f"policy.squash = 'tanh_gaussian' is not for '{name}'")
    off_policy.check(name, settings, policy, num_envs)


TD3 = Algorithm(
    description="twin delayed DDPG (Fujimoto et al. 2018)",
    settings=TD3Settings,
    learner="off_policy",
    check=check,
    warm_start=warm_start,
    warm_start_extras=(PARAMETER_SIGMA,),
    policy_defaults=NETWORKS | {"squash": "tanh", "initial_std": 0.1},
    off_policy=True,
    implied_policy=implied_policy,
    rule=RULE,
)
DDPG = dataclasses.replace(
    TD3, description="deep deterministic policy gradients (Lillicrap et al. 2016)", settings=DDPGSettings
)
