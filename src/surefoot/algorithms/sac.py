"""Soft actor-critic with automatic temperature (Haarnoja et al. 2018, arXiv 1812.05905), and CrossQ as a preset.

    repeat
        act with a ~ pi(.|s); put the transition (s, a, r, s') into the replay
        draw a batch of transitions
        a' ~ pi(.|s')
        y  = r + gamma (min_i Q'_i(s', a') - alpha log pi(a'|s'))             Q' are target networks
        critics descend     sum_i (Q_i(s, a) - y)^2
        the actor descends  alpha log pi(a|s) - min_i Q_i(s, a),   a ~ pi(.|s)
        log alpha descends  -(log pi(a|s) + target entropy)
        target networks move a fraction tau towards the online networks

The policy is a Gaussian squashed by tanh. `off_policy.update` is the loop.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from surefoot.algorithms import off_policy
from surefoot.algorithms.algorithm import Algorithm, WarmStart
from surefoot.algorithms.exploration import ExplorationSettings
from surefoot.algorithms.off_policy import (
    NETWORKS,
    PARAMETER_SIGMA,
    Metrics,
    OffPolicySettings,
    OffPolicyState,
    Rule,
    implied_policy,
)
from surefoot.algorithms.replay import Batch
from surefoot.policies.distributions import TanhGaussian
from surefoot.policies.networks import ActorCritic, BatchStatistics, PolicySettings
from surefoot.schedules import Schedule, schedule

_ADAM: Any = optax.scale_by_adam()


class SACSettings(OffPolicySettings):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905)."""

    critics: int = Field(2, ge=1, le=10)
    """Number of critics; targets use the smallest value."""
    actor_learning_rate: Schedule = schedule(3e-4, gt=0, le=1)
    """Adam's step size for the actor."""
    exploration: ExplorationSettings = ExplorationSettings(sigma=Schedule(start=0.0))
    """Exploration noise added to the actor's samples; none by default."""
    temperature: float = Field(1.0, gt=0, le=1000)
    """Initial alpha, the weight of the entropy."""
    target_entropy: float | None = Field(None, ge=-1000, le=1000)
    """Target entropy per action dimension; none: -1."""
    temperature_learning_rate: float = Field(3e-4, ge=0, le=1)
    """Adam's step size for log alpha; 0: the temperature is constant."""


class Temperature(NamedTuple):
    """The entropy's weight alpha.

    Attributes:
        log_value: (), log alpha.
        opt_state: Optax state of it.
    """

    log_value: jax.Array
    opt_state: optax.OptState


def next_action(
    state: OffPolicyState, batch: Batch, key: jax.Array, settings: SACSettings
) -> tuple[jax.Array, jax.Array]:
    """Return actions (B, A) sampled from the actor in next states, and their entropy bonus (B,)."""
    del settings
    noise = jax.random.normal(key, batch.action.shape)
    distribution = _distribution(state.actor, batch.next_observation)
    return distribution.sample(noise), -jnp.exp(state.extra.log_value) * distribution.log_prob(noise)


def actor_loss(
    actor: ActorCritic, state: OffPolicyState, batch: Batch, key: jax.Array, settings: SACSettings
) -> tuple[jax.Array, tuple[Metrics, list[BatchStatistics]]]:
    """The loss alpha log pi(a|s) - min_i Q_i(s, a), averaged over states, for actions sampled from the actor."""
    del settings
    statistics: list[BatchStatistics] = []
    noise = jax.random.normal(key, batch.action.shape)
    distribution = _distribution(actor, batch.observation, statistics)
    action, log_prob = distribution.sample(noise), distribution.log_prob(noise)
    q = state.critics(batch.observation, action)
    temperature = jnp.exp(state.extra.log_value)
    metrics = {"policy/entropy": -log_prob.mean(), "temperature": temperature}
    return (temperature * log_prob - q.min(0)).mean(), (metrics, statistics)


def after_actor_step(state: OffPolicyState, metrics: Metrics, settings: SACSettings) -> OffPolicyState:
    """Raise the temperature if the entropy is below its target, lower it if it is above."""
    if not settings.temperature_learning_rate:
        return state
    per_action_value = -1.0 if settings.target_entropy is None else settings.target_entropy
    log_alpha, opt_state = state.extra
    grad = metrics["policy/entropy"] - per_action_value * state.actor.log_std.shape[-1]
    step, opt_state = _ADAM.update(grad, opt_state)
    return state._replace(extra=Temperature(log_alpha - settings.temperature_learning_rate * step, opt_state))


def init_temperature(settings: SACSettings) -> Temperature:
    """Return the initial temperature."""
    log_value = jnp.log(jnp.float32(settings.temperature))
    return Temperature(log_value, _ADAM.init(log_value))


def _distribution(
    actor: ActorCritic, observation: jax.Array, statistics: list[BatchStatistics] | None = None
) -> TanhGaussian:
    distribution = actor.distribution(observation, statistics)
    assert isinstance(distribution, TanhGaussian)
    return distribution


RULE = Rule(next_action, actor_loss, after_actor_step, init_temperature)


def warm_start(state: OffPolicyState, tools: WarmStart) -> OffPolicyState:
    """Return the initial state after a warm start; see `Algorithm.warm_start`."""
    state = off_policy.warm_start(state, tools)
    if not tools.same_algorithm or not tools.settings.temperature_learning_rate:
        return state
    tools.report("noise scale", True, "the temperature")
    return state._replace(extra=tools.tree(state.extra, "extra"))


def check(name: str, settings: SACSettings, policy: PolicySettings, num_envs: int) -> None:
    """Make sure that the settings fit each other; see `Algorithm.check`."""
    if policy.squash != "tanh_gaussian":
        raise ValueError(f"policy.squash = '{policy.squash}' is not for '{name}'")
    off_policy.check(name, settings, policy, num_envs)


SAC = Algorithm(
    description="soft actor-critic (Haarnoja et al. 2018)",
    settings=SACSettings,
    learner="off_policy",
    check=check,
    warm_start=warm_start,
    warm_start_extras=(PARAMETER_SIGMA,),
    policy_defaults=NETWORKS | {"squash": "tanh_gaussian", "std": "state_dependent", "minimum_std": 1e-5},
    off_policy=True,
    implied_policy=implied_policy,
    rule=RULE,
)
