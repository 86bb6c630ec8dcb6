"""What an update of DDPG's family carries to the next, and what it learns from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from surefoot.algorithms.adam import ADAM
from surefoot.algorithms.critics import Critic, init_critics
from surefoot.algorithms.ddpg_settings import DDPGSettings, SACSettings
from surefoot.algorithms.symmetry import INITIAL_SCALE, NO_SYMMETRY, Symmetry
from surefoot.policies.networks import ActorCritic, PolicySettings, init_actor
from surefoot.policies.normaliser import Normaliser, init_normaliser


class DDPGState(NamedTuple):
    """All that an update carries to the next.

    Attributes:
        actor: the policy's network.
        average: its moving average over updates, the policy to evaluate and save.
        critics: the critics, side by side.
        target_actor: follows the actor slowly; SAC does not use it.
        target_critics: follow the critics slowly.
        actor_moments: Adam's moments of the actor.
        critic_moments: those of the critics.
        log_temperature: (), SAC's log alpha.
        temperature_moments: Adam's moments of it.
        normaliser: the statistics of all observations.
        updates: () int32, how many updates were made.
        key: a JAX random key.
    """

    actor: ActorCritic
    average: ActorCritic
    critics: Critic
    target_actor: ActorCritic
    target_critics: Critic
    actor_moments: optax.OptState
    critic_moments: optax.OptState
    log_temperature: jax.Array
    temperature_moments: optax.OptState
    normaliser: Normaliser
    updates: jax.Array
    key: jax.Array


class Batch(NamedTuple):
    """One or more batches on the device; fields as in `Transitions`."""

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    discount: jax.Array


def init(
    key: jax.Array,
    observation_size: int,
    action_size: int,
    policy: PolicySettings,
    settings: DDPGSettings,
    symmetry: Symmetry = NO_SYMMETRY,
) -> DDPGState:
    """Return the initial state."""
    actor_key, critic_key, key = jax.random.split(key, 3)
    actor = init_actor(actor_key, observation_size, action_size, policy)
    critics = init_critics(
        critic_key, observation_size, action_size, policy, settings.critic_action_layer, settings.critics
    )
    actor = symmetry.project(actor, INITIAL_SCALE)
    critics = symmetry.project_critics(critics, settings.critic_action_layer, INITIAL_SCALE)
    temperature = settings.temperature if isinstance(settings, SACSettings) else 1.0
    log_temperature = jnp.log(jnp.float32(temperature))
    return DDPGState(
        actor=actor,
        average=jax.tree.map(jnp.copy, actor),
        critics=critics,
        target_actor=jax.tree.map(jnp.copy, actor),
        target_critics=jax.tree.map(jnp.copy, critics),
        actor_moments=ADAM.init(actor),
        critic_moments=ADAM.init(critics),
        log_temperature=log_temperature,
        temperature_moments=ADAM.init(log_temperature),
        normaliser=init_normaliser(observation_size),
        updates=jnp.zeros((), jnp.int32),
        key=key,
    )
