"""Actor and critic networks: multilayer perceptrons with an optional common trunk, as one pytree of arrays."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from pydantic import Field

from surefoot.policies.distributions import Distribution, Gaussian, TanhGaussian
from surefoot.schedules import Schedule, schedule
from surefoot.settings import Settings

Layer = dict[str, jax.Array]
Activation = Callable[[jax.Array], jax.Array]
Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(max_length=30)]

# Upper limit of a state-dependent log_std, from the SAC authors' code (github.com/rail-berkeley/softlearning).
_LARGEST_LOG_STD = 2.0


class PolicySettings(Settings):
    """Network architecture and action distribution."""

    trunk: Widths = ()
    """Hidden layer widths common to actor and critic; empty: separate networks."""
    actor: Widths = (64, 64)
    """Hidden layer widths of the actor."""
    critic: Widths = (64, 64)
    """Hidden layer widths of the critic."""
    activation: Literal["tanh", "relu", "elu", "silu"] = "tanh"
    """Activation function of the hidden layers."""
    critic_activation: Literal["same", "tanh", "relu", "elu", "silu"] = "same"
    """Activation function of the critic's hidden layers; same: `activation`."""
    layer_norm: bool = False
    """Layer normalisation before each activation (Ba, Kiros, Hinton 2016)."""
    batch_norm: bool = False
    """Batch normalisation before each activation (Ioffe and Szegedy 2015), with running statistics when acting.
    Only for DDPG, TD3 and SAC."""
    normalise_observations: bool = True
    """Normalise observations by their running mean and standard deviation."""
    observation_clip: float = Field(10.0, gt=0)
    """Normalised observations are clipped to plus and minus this value."""
    squash: Literal["clip", "tanh", "tanh_gaussian"] = "clip"
    """Treatment of the action bounds. clip: clip the action; tanh: apply tanh to the actor's output, before exploration
    noise; tanh_gaussian: apply tanh to the sample (SAC)."""
    std: Literal["parameter", "scheduled", "state_dependent"] = "parameter"
    """Source of the action standard deviation. parameter: one learned number per dimension; scheduled:
    `std_schedule`; state_dependent: a second output of the actor."""
    initial_std: float = Field(1.0, gt=0, le=10)
    """Initial action standard deviation, in units of half the action range, if it is learned."""
    std_schedule: Schedule = schedule(Schedule(kind="linear", start=1.0, end=0.1), gt=0, le=10)
    """Action standard deviation over the training, for std = "scheduled"."""
    minimum_std: float = Field(0.01, ge=1e-6, le=10)
    """Lower limit of the action standard deviation, from any source; prevents a collapse of exploration."""

    @property
    def activation_function(self) -> Activation:
        """Activation function of the hidden layers."""
        return getattr(jax.nn, self.activation)

    @property
    def critic_activation_function(self) -> Activation:
        """Activation function of the critic's hidden layers."""
        return getattr(jax.nn, self.activation if self.critic_activation == "same" else self.critic_activation)


def init_mlp(
    key: jax.Array, sizes: Sequence[int], last_gain: float, layer_norm: bool, batch_norm: bool = False
) -> list[Layer]:
    """Create the layers of a perceptron with orthogonal weights and zero biases; norms only in hidden layers.

    Args:
        key: a JAX random key.
        sizes: input size, hidden sizes, output size.
        last_gain: scale of the last layer's weights; hidden layers use sqrt(2) (Saxe et al. 2014).
        layer_norm: add the gain and bias of layer normalisation.
        batch_norm: add the gain, bias and running statistics of batch normalisation.
    """
    layers = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        hidden = index < len(sizes) - 2
        key, use = jax.random.split(key)
        orthogonal = jax.nn.initializers.orthogonal(math.sqrt(2) if hidden else last_gain)
        layer = {"weight": orthogonal(use, (inputs, outputs), jnp.float32), "bias": jnp.zeros(outputs)}
        if layer_norm and hidden:
            layer |= {"norm_gain": jnp.ones(outputs), "norm_bias": jnp.zeros(outputs)}
        if batch_norm and hidden:
            layer |= {"batch_gain": jnp.ones(outputs), "batch_bias": jnp.zeros(outputs)}
            layer |= {"batch_mean": jnp.zeros(outputs), "batch_variance": jnp.ones(outputs)}
        layers.append(layer)
    return layers


class BatchStatistics(NamedTuple):
    """Mean and variance, (O,) each, of a hidden layer's pre-activations over a batch."""

    mean: jax.Array
    variance: jax.Array


def hidden_layer(
    layer: Layer, x: jax.Array, activation: Activation, statistics: list[BatchStatistics] | None = None
) -> jax.Array:
    """Apply a hidden layer to (..., I) and return (..., O).

    Batch normalisation uses its running statistics. With a list `statistics` it uses those of the batch and appends
    them to the list.
    """
    x = x @ layer["weight"] + layer["bias"]
    if "batch_gain" in layer:
        mean, variance = layer["batch_mean"], layer["batch_variance"]
        if statistics is not None:
            axes = tuple(range(x.ndim - 1))
            mean, variance = x.mean(axes), x.var(axes)
            statistics.append(BatchStatistics(mean, variance))
        x = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * layer["batch_gain"] + layer["batch_bias"]
    if "norm_gain" in layer:
        centred = x - x.mean(-1, keepdims=True)
        std = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        x = centred / std * layer["norm_gain"] + layer["norm_bias"]
    return activation(x)


def update_batch_norm(
    layers: list[Layer], statistics: list[BatchStatistics], momentum: float, unit_norm: bool = False
) -> list[Layer]:
    """Update the running statistics of batch normalisation with the weight `momentum` by those of a batch, in order.

    With `unit_norm`, also rescale the weights into each normalised unit to norm 1.
    """
    batch_statistics = iter(statistics)
    updated = []
    for layer in layers:
        if "batch_gain" in layer:
            mean, variance = next(batch_statistics)
            changes = {"batch_mean": mean, "batch_variance": variance}
            layer = layer | {name: layer[name] + momentum * (new - layer[name]) for name, new in changes.items()}
            if unit_norm:
                norm = jnp.linalg.norm(layer["weight"], axis=-2, keepdims=True)
                layer["weight"] = layer["weight"] / (norm + 1e-8)
        updated.append(layer)
    return updated


def apply_head(
    layers: list[Layer], x: jax.Array, activation: Activation, statistics: list[BatchStatistics] | None = None
) -> jax.Array:
    """Apply hidden layers and a final linear layer to (..., I); `statistics` as in `hidden_layer`."""
    for layer in layers[:-1]:
        x = hidden_layer(layer, x, activation, statistics)
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("actor", "critic", "log_std", "trunk"), meta_fields=("settings",)
)
@dataclasses.dataclass(frozen=True, eq=False)
class ActorCritic:
    """An actor and a state-value critic: a pytree of arrays with static settings.

    Attributes:
        actor: its layers, the last one linear.
        critic: its layers, the last one linear; none if the algorithm's critics are elsewhere.
        log_std: (A,), log standard deviation of actions, or the bias of a state-dependent one.
        trunk: hidden layers common to both, possibly none.
        settings: the architecture.
    """

    actor: list[Layer]
    critic: list[Layer]
    log_std: jax.Array
    trunk: list[Layer]
    settings: PolicySettings

    def __call__(self, observation: jax.Array) -> tuple[Gaussian, jax.Array]:
        """Return the action distribution and the value, (...,), of normalised observations (..., D).

        Not for `squash = "tanh_gaussian"`, whose algorithms have action-value critics.
        """
        features = self.features(observation)
        distribution = self._distribution(features, None)
        assert isinstance(distribution, Gaussian)
        return distribution, apply_head(self.critic, features, self.settings.critic_activation_function)[..., 0]

    def distribution(self, observation: jax.Array, statistics: list[BatchStatistics] | None = None) -> Distribution:
        """Return the distribution of actions (..., A) for normalised observations (..., D).

        Actions are in units in which the task's bounds are -1 and 1. `statistics` as in `hidden_layer`.
        """
        return self._distribution(self.features(observation), statistics)

    def features(self, observation: jax.Array) -> jax.Array:
        """Apply the trunk to normalised observations (..., D)."""
        for layer in self.trunk:
            observation = hidden_layer(layer, observation, self.settings.activation_function)
        return observation

    def _distribution(self, features: jax.Array, statistics: list[BatchStatistics] | None) -> Distribution:
        settings, log_std = self.settings, self.log_std
        output = apply_head(self.actor, features, settings.activation_function, statistics)
        if settings.std == "state_dependent":
            output, offset = jnp.split(output, 2, axis=-1)
            log_std = jnp.clip(log_std + offset, None, _LARGEST_LOG_STD)
        elif settings.std == "scheduled":
            log_std = jax.lax.stop_gradient(log_std)
        mean = jnp.tanh(output) if settings.squash == "tanh" else output
        log_std = jnp.maximum(log_std, math.log(settings.minimum_std))
        return (TanhGaussian if settings.squash == "tanh_gaussian" else Gaussian)(mean, log_std)


def init_actor_critic(key: jax.Array, observation_size: int, action_size: int, settings: PolicySettings) -> ActorCritic:
    """Create an actor and a state-value critic."""
    initial_std = settings.std_schedule.start if settings.std == "scheduled" else settings.initial_std
    trunk_key, actor_key, critic_key = jax.random.split(key, 3)
    feature_size = settings.trunk[-1] if settings.trunk else observation_size
    outputs = 2 * action_size if settings.std == "state_dependent" else action_size
    norms = (settings.layer_norm, settings.batch_norm)
    return ActorCritic(
        # Without the last layer of this perceptron, all layers of the trunk are hidden ones.
        trunk=init_mlp(trunk_key, (observation_size, *settings.trunk, 1), 1.0, *norms)[:-1],
        actor=init_mlp(actor_key, (feature_size, *settings.actor, outputs), 0.01, *norms),
        critic=init_mlp(critic_key, (feature_size, *settings.critic, 1), 1.0, *norms),
        log_std=jnp.full(action_size, math.log(initial_std), jnp.float32),
        settings=settings,
    )


def init_actor(key: jax.Array, observation_size: int, action_size: int, settings: PolicySettings) -> ActorCritic:
    """Create an actor alone, for algorithms without a critic or with action-value critics."""
    return dataclasses.replace(init_actor_critic(key, observation_size, action_size, settings), critic=[])


def scheduled_log_std(settings: PolicySettings, progress: jax.Array) -> jax.Array:
    """Return the scheduled log standard deviation, (), at training `progress` in [0, 1]."""
    return jnp.log(jnp.maximum(settings.std_schedule.value(progress), settings.minimum_std))
