"""Critics that judge an action in a state, Q(s, a), several of one shape side by side."""

import math
from typing import Literal, TypedDict

import jax
import jax.numpy as jnp

from surefoot.policies.networks import (
    BatchStatistics,
    Layer,
    PolicySettings,
    activation_function,
    hidden_layer,
    init_mlp,
)

ActionEntry = Literal["first", "second", "branch"]


class Critic(TypedDict):
    """One critic; of several side by side every array has one more dimension in front.

    Attributes:
        layers: of the state, the last one linear.
        branch: a linear layer of the action where that has a branch of its own, else none.
    """

    layers: list[Layer]
    branch: list[Layer]


def init_critics(
    key: jax.Array, observation_size: int, action_size: int, settings: PolicySettings, entry: ActionEntry, count: int
) -> Critic:
    """Make `count` critics with hidden layers of `settings.critic` units, side by side."""

    def init(key: jax.Array) -> Critic:
        layer_key, entry_key = jax.random.split(key)
        sizes = [observation_size, *settings.critic, 1]
        layers = init_mlp(layer_key, sizes, 1.0, settings.layer_norm, settings.batch_norm)
        if entry == "branch":
            scale = jax.nn.initializers.orthogonal(math.sqrt(2))
            width = settings.critic[-1]
            branch = {"weight": scale(entry_key, (action_size, width), jnp.float32), "bias": jnp.zeros(width)}
            # The layer that the branch joins is a plain sum.
            layers[-2] = {name: layers[-2][name] for name in ("weight", "bias")}
            return {"layers": layers, "branch": [branch]}
        at = 0 if entry == "first" else 1
        inputs, outputs = layers[at]["weight"].shape
        gain = math.sqrt(2) if at < len(layers) - 1 else 1.0
        weight = jax.nn.initializers.orthogonal(gain)(entry_key, (inputs + action_size, outputs), jnp.float32)
        layers[at] = layers[at] | {"weight": weight}
        return {"layers": layers, "branch": []}

    return jax.vmap(init)(jax.random.split(key, count))


def action_values(
    critics: Critic,
    observation: jax.Array,
    action: jax.Array,
    settings: PolicySettings,
    entry: ActionEntry,
    training: bool = False,
) -> tuple[jax.Array, list[BatchStatistics]]:
    """Return the values (C, B) that C critics give actions (B, A) in normalised observations (B, D).

    With `training`, batch normalisations use the batch's own statistics, which are returned, (C, O) each.
    """
    activation = activation_function(settings.activation)

    def judge(critic: Critic) -> tuple[jax.Array, list[BatchStatistics]]:
        statistics: list[BatchStatistics] = []
        x = observation
        *hidden, last = critic["layers"]
        at = {"first": 0, "second": 1, "branch": -1}[entry]
        for index, layer in enumerate(hidden):
            if index == at:
                x = jnp.concatenate([x, action], axis=-1)
            if critic["branch"] and index == len(hidden) - 1:
                (branch,) = critic["branch"]
                joined = x @ layer["weight"] + layer["bias"] + action @ branch["weight"] + branch["bias"]
                x = activation(joined)
            else:
                x = hidden_layer(layer, x, activation, statistics if training else None)
        if at == len(hidden):
            x = jnp.concatenate([x, action], axis=-1)
        return (x @ last["weight"] + last["bias"])[..., 0], statistics

    # Apart rather than by `vmap`: a product of stacked matrices is slower on a CPU than one after the other.
    count = jax.tree.leaves(critics)[0].shape[0]
    judged = [judge(jax.tree.map(lambda x, one=one: x[one], critics)) for one in range(count)]
    values = jnp.stack([value for value, _ in judged])
    per_layer = zip(*(found for _, found in judged), strict=True)
    statistics = [jax.tree.map(lambda *parts: jnp.stack(parts), *layer) for layer in per_layer]
    return values, statistics
