"""Action-value critics, Q(s, a): several networks of the same shape, stacked."""

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp

from surefoot.policies.networks import BatchStatistics, Layer, PolicySettings, hidden_layer, init_mlp

# Layer that receives the action; see `OffPolicySettings.critic_action_layer`.
ActionLayer = Literal["first", "second", "branch"]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("branch", "layers"), meta_fields=("settings", "action_layer")
)
@dataclasses.dataclass(frozen=True, eq=False)
class Critics:
    """C critics: a pytree of arrays, stacked along a new first axis, with static settings.

    Attributes:
        layers: layers that process the observation, the last one linear.
        branch: a linear layer that processes the action if the action layer is "branch", else none.
        settings: the architecture.
        action_layer: layer that receives the action.
    """

    layers: list[Layer]
    branch: list[Layer]
    settings: PolicySettings
    action_layer: ActionLayer

    def __call__(
        self, observation: jax.Array, action: jax.Array, statistics: list[BatchStatistics] | None = None
    ) -> jax.Array:
        """Return the values (C, B) of actions (B, A) in normalised observations (B, D).

        Batch normalisation uses its running statistics. With a list `statistics` it uses those of the batch and appends
        them to the list, (C, O) for each layer.
        """
        # A loop over critics instead of `vmap`: on a CPU, stacked matrix products are slower than separate ones.
        values, collected = [], []
        for index in range(len(self.layers[0]["weight"])):
            own: list[BatchStatistics] = []
            values.append(self[index]._value(observation, action, None if statistics is None else own))
            collected.append(own)
        if statistics is not None:
            per_layer = zip(*collected, strict=True)
            statistics += [jax.tree.map(lambda *parts: jnp.stack(parts), *layer) for layer in per_layer]
        return jnp.stack(values)

    def __getitem__(self, index: int | slice) -> "Critics":
        """Return a subset of the critics; a critic selected by an integer has no first axis and is not callable."""
        return jax.tree.map(lambda x: x[index], self)

    def _value(self, observation: jax.Array, action: jax.Array, statistics: list[BatchStatistics] | None) -> jax.Array:
        """Return the values (B,) of a single critic."""
        activation = self.settings.critic_activation_function
        *hidden, last = self.layers
        action_index = {"first": 0, "second": 1, "branch": -1}[self.action_layer]
        x = observation
        for index, layer in enumerate(hidden):
            if index == action_index:
                x = jnp.concatenate([x, action], axis=-1)
            if self.branch and index == len(hidden) - 1:
                (branch,) = self.branch
                x = activation(x @ layer["weight"] + layer["bias"] + action @ branch["weight"] + branch["bias"])
            else:
                x = hidden_layer(layer, x, activation, statistics)
        if action_index == len(hidden):
            x = jnp.concatenate([x, action], axis=-1)
        return (x @ last["weight"] + last["bias"])[..., 0]


def init_critics(
    key: jax.Array,
    observation_size: int,
    action_size: int,
    settings: PolicySettings,
    action_layer: ActionLayer,
    count: int,
) -> Critics:
    """Create `count` critics with hidden layers of `settings.critic` units."""

    def init(key: jax.Array) -> Critics:
        layer_key, action_key = jax.random.split(key)
        sizes = [observation_size, *settings.critic, 1]
        layers = init_mlp(layer_key, sizes, 1.0, settings.layer_norm, settings.batch_norm)
        if action_layer == "branch":
            orthogonal = jax.nn.initializers.orthogonal(math.sqrt(2))
            width = settings.critic[-1]
            branch = {"weight": orthogonal(action_key, (action_size, width), jnp.float32), "bias": jnp.zeros(width)}
            # The layer that the branch is added to has no normalisation.
            layers[-2] = {name: layers[-2][name] for name in ("weight", "bias")}
            return Critics(layers, [branch], settings, action_layer)
        index = 0 if action_layer == "first" else 1
        inputs, outputs = layers[index]["weight"].shape
        orthogonal = jax.nn.initializers.orthogonal(math.sqrt(2) if index < len(layers) - 1 else 1.0)
        weight = orthogonal(action_key, (inputs + action_size, outputs), jnp.float32)
        layers[index] = layers[index] | {"weight": weight}
        return Critics(layers, [], settings, action_layer)

    return jax.vmap(init)(jax.random.split(key, count))
