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

from surefoot.algorithms.algorithm import Metrics, WarmStart
from surefoot.algorithms.exploration import ExplorationSettings
from surefoot.algorithms.off_policy import ActorLoss, OffPolicySettings, OffPolicyState
from surefoot.algorithms.replay import Batch
from surefoot.policies.networks import ActorCritic, BatchStatistics
from surefoot.ranges import uniform
from surefoot.schedules import Schedule, schedule

_ADAM: Any = optax.scale_by_adam()


class Temperature(NamedTuple):
    """The entropy's weight alpha: its logarithm, (), and Adam's state."""

    log_value: jax.Array
    opt_state: optax.OptState


class SACSettings(OffPolicySettings):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905)."""

    allowed_policies = OffPolicySettings.allowed_policies | {"squash": ("tanh_gaussian",)}
    policy_defaults = OffPolicySettings.policy_defaults | {
        "squash": "tanh_gaussian",
        "std": "state_dependent",
        "minimum_std": 1e-5,
    }
    search_space = OffPolicySettings.search_space | {"target_entropy": uniform(-2.0, 0.0)}

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

    def init_extra(self) -> Temperature:
        """Return the initial temperature."""
        log_value = jnp.log(jnp.float32(self.temperature))
        return Temperature(log_value, _ADAM.init(log_value))

    def next_action(self, state: OffPolicyState, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return actions (B, A) sampled from the actor in next states, and their entropy bonus (B,)."""
        noise = jax.random.normal(key, batch.action.shape)
        distribution = state.actor.distribution(batch.next_observation)
        return distribution.sample(noise), -jnp.exp(state.extra.log_value) * distribution.log_prob(noise)

    def actor_loss(self, actor: ActorCritic, state: OffPolicyState, batch: Batch, key: jax.Array) -> ActorLoss:
        """The loss alpha log pi(a|s) - min_i Q_i(s, a), averaged over states, for actions sampled from the actor."""
        statistics: list[BatchStatistics] = []
        noise = jax.random.normal(key, batch.action.shape)
        distribution = actor.distribution(batch.observation, statistics)
        action, log_prob = distribution.sample(noise), distribution.log_prob(noise)
        q = state.critics(batch.observation, action)
        temperature = jnp.exp(state.extra.log_value)
        metrics = {"policy/entropy": -log_prob.mean(), "temperature": temperature}
        return (temperature * log_prob - q.min(0)).mean(), (metrics, statistics)

    def after_actor_step(self, state: OffPolicyState, metrics: Metrics) -> OffPolicyState:
        """Raise the temperature if the entropy is below its target, lower it if it is above."""
        if not self.temperature_learning_rate:
            return state
        per_action_value = -1.0 if self.target_entropy is None else self.target_entropy
        log_alpha, opt_state = state.extra
        grad = metrics["policy/entropy"] - per_action_value * state.actor.log_std.shape[-1]
        step, opt_state = _ADAM.update(grad, opt_state)
        return state._replace(extra=Temperature(log_alpha - self.temperature_learning_rate * step, opt_state))

    def warm_start(self, state: OffPolicyState, tools: WarmStart) -> OffPolicyState:
        state = super().warm_start(state, tools)
        if not tools.same_algorithm or not self.temperature_learning_rate:
            return state
        tools.report("noise scale", True, "the temperature")
        return state._replace(extra=tools.tree(state.extra, "extra"))
