"""Augmented random search: walk where random changes of the weights pay.

    repeat
        draw N directions d_k, standard normal, of the shape of the weights w
        for each, run one episode with w + nu d_k and one with w - nu d_k: returns r_k+ and r_k-
        keep the b directions whose better return, max(r_k+, r_k-), is greatest
        w moves by  alpha / (b sigma)  sum_k (r_k+ - r_k-) d_k,  sigma the deviation of the 2 b returns
        V2: merge all that was observed into the statistics by which observations are normalised

Mania, Guy, Recht 2018 (arXiv 1803.07055), algorithms 1 and 2. Nothing is differentiated. Directions are numbered in
pairs, *candidates*: 2 k is w + nu d_k, 2 k + 1 is w - nu d_k.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from surefoot.algorithms.algorithm import Algorithm, WarmStart
from surefoot.algorithms.ars_settings import ARSSettings
from surefoot.policies.networks import ActorCritic, Layer, PolicySettings, init_actor
from surefoot.policies.normaliser import Normaliser, init_normaliser


class ARSState(NamedTuple):
    """All that one iteration carries to the next.

    Attributes:
        parameters: where the search is.
        average: their moving average over iterations, the policy to evaluate and save.
        normaliser: the statistics of all observations.
        key: a JAX random key.
    """

    parameters: ActorCritic
    average: ActorCritic
    normaliser: Normaliser
    key: jax.Array


METRICS = ("search/deviation", "search/best", "search/step", "search/weights", "step_size")


def init(key: jax.Array, observation_size: int, action_size: int, policy: PolicySettings) -> ARSState:
    """Make the state before any learning: a linear policy starts at zero, a network at random."""
    use, key = jax.random.split(key)
    parameters = init_actor(use, observation_size, action_size, policy)
    if not policy.actor:
        parameters = dataclasses.replace(parameters, actor=jax.tree.map(jnp.zeros_like, parameters.actor))
    return ARSState(parameters, jax.tree.map(jnp.copy, parameters), init_normaliser(observation_size), key)


@functools.partial(jax.jit, static_argnames="settings")
def draw(state: ARSState, settings: ARSSettings) -> tuple[ARSState, list[Layer]]:
    """Draw N directions, the layers of the actor with one more dimension in front."""
    key, use = jax.random.split(state.key)
    leaves, shape = jax.tree_util.tree_flatten_with_path(state.parameters.actor)
    keys = jax.random.split(use, len(leaves))
    drawn = [
        jax.random.normal(key, (settings.directions, *leaf.shape))
        if settings.biases or path[-1].key == "weight"
        else jnp.zeros((settings.directions, *leaf.shape))
        for key, (path, leaf) in zip(keys, leaves, strict=True)
    ]
    return state._replace(key=key), jax.tree.unflatten(shape, drawn)


@jax.jit
def candidates(state: ARSState, directions: list[Layer], numbers: jax.Array, noise: jax.Array) -> list[Layer]:
    """Return the actors of candidates `numbers` (C,), layers with one more dimension in front.

    Args:
        state: where the search is.
        directions: as drawn.
        numbers: (C,) int, which candidates.
        noise: (), nu.
    """
    sign = jnp.where(numbers % 2, -1.0, 1.0) * noise

    def one(weight: jax.Array, direction: jax.Array) -> jax.Array:
        return weight + sign.reshape(-1, *[1] * weight.ndim) * direction[numbers // 2]

    return jax.tree.map(one, state.parameters.actor, directions)


@functools.partial(jax.jit, static_argnames="settings")
def update(
    state: ARSState, directions: list[Layer], returns: jax.Array, step_size: jax.Array, settings: ARSSettings
) -> tuple[ARSState, jax.Array]:
    """Move the weights.

    Args:
        state: where the search is.
        directions: as drawn.
        returns: (2 N,), of the candidates.
        step_size: (), alpha.
        settings: the algorithm's.

    Returns:
        The next state and the metrics named in `METRICS`, (len(METRICS),).
    """
    pairs = returns.reshape(-1, 2)
    count = min(settings.top_directions or settings.directions, settings.directions)
    best = jnp.argsort(-pairs.max(1), stable=True)[:count]
    deviation = pairs[best].std()
    # Where all returns are the same there is nothing to learn, and nothing to divide by.
    size = step_size / (count * jnp.maximum(deviation, 1e-6))
    gain = size * (pairs[best, 0] - pairs[best, 1])
    steps = jax.tree.map(lambda direction: jnp.tensordot(gain, direction[best], 1), directions)
    actor = jax.tree.map(jnp.add, state.parameters.actor, steps)
    parameters = dataclasses.replace(state.parameters, actor=actor)
    decay = settings.ema_decay
    mean = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.average.actor, actor)
    average = dataclasses.replace(state.average, actor=mean)
    metrics = [deviation, returns.max(), _norm(steps), _norm(actor), step_size]
    return state._replace(parameters=parameters, average=average), jnp.stack(metrics)


def effective(normaliser: Normaliser, settings: ARSSettings) -> Normaliser:
    """Return the statistics that observations are normalised by."""
    return normaliser._replace(variance=jnp.maximum(normaliser.variance, settings.variance_floor))


def _norm(tree: list[Layer]) -> jax.Array:
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


def check(name: str, settings: ARSSettings, policy: PolicySettings, num_envs: int) -> None:
    """Make sure that the settings fit each other; see `Algorithm.check`."""
    if num_envs > 2 * settings.directions:
        raise ValueError(
            f"engine.num_envs = {num_envs} is more than the {2 * settings.directions} episodes of an iteration "
            f"(2 x {name}.directions)"
        )
    if (settings.top_directions or 0) > settings.directions:
        raise ValueError(
            f"{name}.top_directions = {settings.top_directions} is more than {name}.directions = {settings.directions}"
        )
    if policy.trunk or policy.critic:
        which = f"policy.trunk = {list(policy.trunk)}" if policy.trunk else f"policy.critic = {list(policy.critic)}"
        raise ValueError(f"{which}: '{name}' has an actor only")
    if policy.batch_norm or policy.squash == "tanh_gaussian" or policy.std != "parameter":
        which = "policy.batch_norm = true" if policy.batch_norm else f"policy.squash = '{policy.squash}'"
        which = f"policy.std = '{policy.std}'" if policy.std != "parameter" else which
        raise ValueError(f"{which} is not for '{name}'")


def warm_start(state: ARSState, tools: WarmStart) -> ARSState:
    """Return the initial state after a warm start; see `Algorithm.warm_start`."""

    def fresh(path: str) -> bool:
        return path.endswith("/log_std")

    return state._replace(
        parameters=tools.tree(state.parameters, "parameters" if tools.same_algorithm else tools.acting, fresh),
        average=tools.tree(state.average, tools.acting, fresh),
        normaliser=tools.normaliser(state.normaliser),
    )


ARS = Algorithm(
    description="augmented random search (Mania et al. 2018)",
    settings=ARSSettings,
    learner="random_search",
    warm_start=warm_start,
    acting_statistics=effective,
    check=check,
    policy_defaults={"actor": [], "critic": []},
)
