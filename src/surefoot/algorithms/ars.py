"""Augmented random search: move the weights along random directions that improve the return.

    repeat
        draw N directions d_k, standard normal, of the shape of the weights w
        for each, run one episode with w + nu d_k and one with w - nu d_k: returns r_k+ and r_k-
        keep the b directions with the greatest max(r_k+, r_k-)
        w moves by  alpha / (b sigma)  sum_k (r_k+ - r_k-) d_k,  where sigma is the std of the 2 b returns
        V2: merge all observations into the statistics that normalise observations

Mania, Guy, Recht 2018 (arXiv 1803.07055), algorithms 1 and 2. There are no gradients. The 2 N policies of an iteration
are its *candidates*: candidate 2 k has weights w + nu d_k, candidate 2 k + 1 has w - nu d_k.
"""

import dataclasses
import functools
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from pydantic import Field

from surefoot.algorithms.algorithm import AlgorithmSettings, Metrics, WarmStart
from surefoot.algorithms.optimizers import moving_average
from surefoot.policies.networks import ActorCritic, Layer, PolicySettings, init_actor
from surefoot.policies.normaliser import Normaliser, init_normaliser
from surefoot.ranges import choice, log
from surefoot.schedules import Schedule, schedule


class ARSSettings(AlgorithmSettings):
    """Augmented random search (Mania, Guy, Recht 2018, arXiv 1803.07055).

    V1 has `policy.normalise_observations = false`, V2 true; `top_directions` makes them V1-t and V2-t.
    """

    learner = "random_search"
    policy_defaults: ClassVar = {"actor": [], "critic": []}
    allowed_policies = AlgorithmSettings.allowed_policies | {"trunk": ((),), "critic": ((),), "std": ("parameter",)}
    starts_at_zero = True
    search_space: ClassVar = {
        "directions": choice(8, 16, 32, 64),
        "step_size": log(3e-3, 1e-1),
        "noise": log(1e-2, 1e-1),
    }

    directions: int = Field(32, ge=1, le=100_000)
    """N, random directions per iteration; each is evaluated with both signs."""
    top_directions: int | None = Field(None, ge=1, le=100_000)
    """b, number of directions used for the step, those with the best returns; none: all."""
    rollout_length: Schedule = schedule(0, ge=0, le=10**9)
    """H, steps after which an episode of the search is truncated; 0: the task's own limit. Evaluations use the task's
    own limit."""
    step_size: Schedule = schedule(0.02, gt=0, le=100)
    """Alpha, the learning rate."""
    noise: Schedule = schedule(0.03, gt=0, le=100)
    """Nu, the standard deviation of the noise on the weights."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the weights that is evaluated and saved (Polyak and Juditsky 1992); 0: the newest
    weights."""
    reward_clip: float = Field(0.0, ge=0)
    """Rewards of the search are clipped to plus and minus this value; 0: no clipping."""
    statistics: Literal["iteration", "step"] = "iteration"
    """Time of merging observations into the normaliser: after each iteration or each step (recipe `turing2020`)."""
    symmetry: Literal["none", "averaged"] = "none"
    """Use of the task's left-right symmetry. averaged: the policy is averaged over mirror images, so that it is
    symmetric for any weights."""
    variance_floor: float = Field(0.0, ge=0)
    """Lower limit on the variances that normalise observations."""

    def acting_statistics(self, normaliser: Normaliser) -> Normaliser:
        """Return the statistics with all variances raised to at least `variance_floor`."""
        return normaliser._replace(variance=jnp.maximum(normaliser.variance, self.variance_floor))

    def warm_start(self, state: "ARSState", tools: WarmStart) -> "ARSState":
        def fresh(path: str) -> bool:
            return path.endswith("/log_std")

        return state._replace(
            network=tools.tree(state.network, "network" if tools.same_algorithm else tools.acting, fresh),
            average=tools.tree(state.average, tools.acting, fresh),
            normaliser=tools.normaliser(state.normaliser),
        )

    def check(self, name: str, policy: PolicySettings, num_envs: int) -> None:
        super().check(name, policy, num_envs)
        if num_envs > 2 * self.directions:
            raise ValueError(
                f"engine.num_envs = {num_envs} is more than the {2 * self.directions} episodes of an iteration "
                f"(2 x {name}.directions)"
            )
        if (self.top_directions or 0) > self.directions:
            raise ValueError(
                f"{name}.top_directions = {self.top_directions} is more than {name}.directions = {self.directions}"
            )
        for steps in (self.rollout_length.start, self.rollout_length.end):
            if steps != int(steps):
                raise ValueError(f"{name}.rollout_length = {steps:g} is not a whole number of steps")


class ARSState(NamedTuple):
    """State carried from one iteration to the next.

    Attributes:
        network: the network whose actor is searched.
        average: its moving average over iterations, the policy to evaluate and save.
    """

    network: ActorCritic
    average: ActorCritic
    normaliser: Normaliser
    key: jax.Array


def init(key: jax.Array, observation_size: int, action_size: int, policy: PolicySettings) -> ARSState:
    """Return the initial state: zero weights for a linear policy, random ones for others."""
    network_key, key = jax.random.split(key)
    network = init_actor(network_key, observation_size, action_size, policy)
    if not policy.actor:
        network = dataclasses.replace(network, actor=jax.tree.map(jnp.zeros_like, network.actor))
    return ARSState(network, jax.tree.map(jnp.copy, network), init_normaliser(observation_size), key)


@functools.partial(jax.jit, static_argnames="settings")
def sample_directions(state: ARSState, settings: ARSSettings) -> tuple[ARSState, list[Layer]]:
    """Sample N directions: the actor's layers with a new first axis. Biases are not searched, so theirs are 0."""
    key, direction_key = jax.random.split(state.key)
    leaves, structure = jax.tree_util.tree_flatten_with_path(state.network.actor)
    keys = jax.random.split(direction_key, len(leaves))
    directions = [
        jax.random.normal(key, (settings.directions, *leaf.shape))
        if path[-1].key == "weight"
        else jnp.zeros((settings.directions, *leaf.shape))
        for key, (path, leaf) in zip(keys, leaves, strict=True)
    ]
    return state._replace(key=key), jax.tree.unflatten(structure, directions)


@jax.jit
def candidate_actors(state: ARSState, directions: list[Layer], candidate: jax.Array, noise: jax.Array) -> list[Layer]:
    """Return the actors of C candidates with indices (C,): layers with a new first axis; `noise` is nu, ()."""
    signed_noise = jnp.where(candidate % 2, -1.0, 1.0) * noise

    def perturb(weight: jax.Array, direction: jax.Array) -> jax.Array:
        return weight + signed_noise.reshape(-1, *[1] * weight.ndim) * direction[candidate // 2]

    return jax.tree.map(perturb, state.network.actor, directions)


@functools.partial(jax.jit, static_argnames="settings")
def update(
    state: ARSState, directions: list[Layer], returns: jax.Array, step_size: jax.Array, settings: ARSSettings
) -> tuple[ARSState, Metrics]:
    """Move the weights by the returns (2 N,) of the candidates, with step size alpha, ()."""
    pairs = returns.reshape(-1, 2)
    count = min(settings.top_directions or settings.directions, settings.directions)
    best = jnp.argsort(-pairs.max(1), stable=True)[:count]
    std = pairs[best].std()
    # If all returns are equal, the step is 0, not 0 / 0.
    scale = step_size / (count * jnp.maximum(std, 1e-6))
    weights = scale * (pairs[best, 0] - pairs[best, 1])
    step = jax.tree.map(lambda direction: jnp.tensordot(weights, direction[best], 1), directions)
    actor = jax.tree.map(jnp.add, state.network.actor, step)
    average = moving_average(state.average.actor, actor, settings.ema_decay)
    metrics = {
        "search/std": std,
        "search/best": returns.max(),
        "search/step": optax.tree.norm(step),
        "search/weights": optax.tree.norm(actor),
        "step_size": step_size,
    }
    state = state._replace(
        network=dataclasses.replace(state.network, actor=actor),
        average=dataclasses.replace(state.average, actor=average),
    )
    return state, metrics
