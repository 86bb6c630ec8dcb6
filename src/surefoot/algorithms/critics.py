"""Critics of actions, Q(s, a): several networks of the same shape, stacked."""

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

# Where the action enters; see `OffPolicySettings.critic_action_layer`.
ActionEntry = Literal["first", "second", "branch"]


class Critic(TypedDict):
    """One critic, or C of them with arrays stacked along a new first axis.

    Attributes:
        layers: layers of the observation, the last one linear.
        branch: a linear layer of the action for the entry "branch", else none.
    """

    layers: list[Layer]
    branch: list[Layer]


def init_critics(
    key: jax.Array, observation_size: int, action_size: int, settings: PolicySettings, entry: ActionEntry, count: int
) -> Critic:
    """Create `count` critics with hidden layers of `settings.critic` units."""

    def init(key: jax.Array) -> Critic:
        layer_key, entry_key = jax.random.split(key)
        sizes = [observation_size, *settings.critic, 1]
        layers = init_mlp(layer_key, sizes, 1.0, settings.layer_norm, settings.batch_norm)
        if entry == "branch":
            orthogonal = jax.nn.initializers.orthogonal(math.sqrt(2))
            width = settings.critic[-1]
            branch = {"weight": orthogonal(entry_key, (action_size, width), jnp.float32), "bias": jnp.zeros(width)}
            # The layer that the branch is added to has no normalisation.
            layers[-2] = {name: layers[-2][name] for name in ("weight", "bias")}
            return {"layers": layers, "branch": [branch]}
        index = 0 if entry == "first" else 1
        inputs, outputs = layers[index]["weight"].shape
        orthogonal = jax.nn.initializers.orthogonal(math.sqrt(2) if index < len(layers) - 1 else 1.0)
        weight = orthogonal(entry_key, (inputs + action_size, outputs), jnp.float32)
        layers[index] = layers[index] | {"weight": weight}
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
    """Return the values (C, B) of actions (B, A) in normalised observations (B, D), by C critics.

    With `training`, batch normalisation uses the batch's own statistics; they are returned too, (C, O) each.
    """
    # A loop over critics instead of `vmap`: on a CPU, stacked matrix products are slower than separate ones.
    count = jax.tree.leaves(critics)[0].shape[0]
    results = [
        _values(jax.tree.map(lambda x, index=index: x[index], critics), observation, action, settings, entry, training)
        for index in range(count)
    ]
    per_layer = zip(*(statistics for _, statistics in results), strict=True)
    statistics = [jax.tree.map(lambda *parts: jnp.stack(parts), *layer) for layer in per_layer]
    return jnp.stack([values for values, _ in results]), statistics


def _values(
    critic: Critic,
    observation: jax.Array,
    action: jax.Array,
    settings: PolicySettings,
    entry: ActionEntry,
    training: bool,
) -> tuple[jax.Array, list[BatchStatistics]]:
    """Return the values (B,) by one critic and, with `training`, its batch normalisation statistics."""
    activation = activation_function(settings.activation)
    statistics: list[BatchStatistics] = []
    *hidden, last = critic["layers"]
    entry_index = {"first": 0, "second": 1, "branch": -1}[entry]
    x = observation
    for index, layer in enumerate(hidden):
        if index == entry_index:
            x = jnp.concatenate([x, action], axis=-1)
        if critic["branch"] and index == len(hidden) - 1:
            (branch,) = critic["branch"]
            x = activation(x @ layer["weight"] + layer["bias"] + action @ branch["weight"] + branch["bias"])
        else:
            x = hidden_layer(layer, x, activation, statistics if training else None)
    if entry_index == len(hidden):
        x = jnp.concatenate([x, action], axis=-1)
    return (x @ last["weight"] + last["bias"])[..., 0], statistics
