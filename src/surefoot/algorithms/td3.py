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

import jax
import jax.numpy as jnp
from pydantic import Field

from surefoot.algorithms.off_policy import ActorLoss, OffPolicySettings, OffPolicyState
from surefoot.algorithms.replay import Batch
from surefoot.policies.networks import ActorCritic, BatchStatistics
from surefoot.ranges import uniform


class TD3Settings(OffPolicySettings):
    """Twin delayed DDPG (Fujimoto et al. 2018, arXiv 1802.09477)."""

    allowed_policies = OffPolicySettings.allowed_policies | {"squash": ("tanh", "clip")}
    policy_defaults = OffPolicySettings.policy_defaults | {"squash": "tanh", "initial_std": 0.1}
    search_space = OffPolicySettings.search_space | {"exploration.sigma": uniform(0.05, 0.4)}

    policy_delay: int = Field(2, ge=1, le=1000)
    """Critic updates per update of actor and target networks."""
    target_noise: float = Field(0.2, ge=0, le=10)
    """Standard deviation of the noise on target actions."""
    target_noise_clip: float = Field(0.5, ge=0, le=10)
    """Limit of the noise on target actions."""

    def next_action(self, state: OffPolicyState, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the target actor's actions (B, A) with clipped noise, and no bonus."""
        actor = state.target_actor if self.choices.target_networks else state.actor
        action = actor.distribution(batch.next_observation).mode()
        if self.target_noise:
            noise = self.target_noise * jax.random.normal(key, batch.action.shape)
            action += jnp.clip(noise, -self.target_noise_clip, self.target_noise_clip)
        return jnp.clip(action, -1, 1), jnp.zeros(len(action))

    def actor_loss(self, actor: ActorCritic, state: OffPolicyState, batch: Batch, key: jax.Array) -> ActorLoss:
        """The loss -Q_1(s, actor(s)), averaged over states."""
        del key  # the actor is deterministic
        statistics: list[BatchStatistics] = []
        action = actor.distribution(batch.observation, statistics).mode()
        (q,) = state.critics[:1](batch.observation, action)
        return -q.mean(), ({}, statistics)


class DDPGSettings(TD3Settings):
    """Deep deterministic policy gradients (Lillicrap et al. 2016, arXiv 1509.02971): TD3 without its extras."""

    critics: int = Field(1, ge=1, le=10)
    """Number of critics; targets use the smallest value."""
    policy_delay: int = Field(1, ge=1, le=1000)
    """Critic updates per update of actor and target networks."""
    target_noise: float = Field(0.0, ge=0, le=10)
    """Standard deviation of the noise on target actions."""
