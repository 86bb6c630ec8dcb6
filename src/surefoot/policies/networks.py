"""Multilayer perceptrons as plain trees of arrays: a trunk that actor and critic share, and a head for each."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from pydantic import Field

from surefoot.policies.symmetry import Mirror
from surefoot.schedules import Schedule, schedule
from surefoot.settings import Settings

Layer = dict[str, jax.Array]


class Parameters(TypedDict):
    """An actor and a critic.

    Attributes:
        trunk: hidden layers that both share, maybe none.
        actor: the actor's own layers, the last one linear.
        critic: the critic's.
        log_std: (A,), the log standard deviation, or what the network's own is added to.
    """

    trunk: list[Layer]
    actor: list[Layer]
    critic: list[Layer]
    log_std: jax.Array


Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(max_length=30)]

_LARGEST_LOG_STD = 2.0  # of a network's own, as in the SAC authors' code (github.com/rail-berkeley/softlearning)

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
}


class PolicySettings(Settings):
    """The shape of the networks and of the Gaussian over actions."""

    trunk: Widths = ()
    """Widths of the hidden layers that actor and critic share; empty keeps the two apart."""
    actor: Widths = (64, 64)
    """Widths of the actor's own hidden layers."""
    critic: Widths = (64, 64)
    """Widths of the critic's own hidden layers."""
    activation: Literal["tanh", "relu", "elu", "silu"] = "tanh"
    """The non-linearity after each hidden layer."""
    layer_norm: bool = False
    """Normalise each hidden layer before its non-linearity (Ba, Kiros, Hinton 2016)."""
    batch_norm: bool = False
    """Normalise each hidden layer's values over the batch before its non-linearity (Ioffe and Szegedy 2015); when it
    acts, the policy uses running statistics. Not for PPO, whose batches are its own doing."""
    normalise_observations: bool = True
    """Subtract the running mean of the observations and divide by their running deviation."""
    observation_clip: float = Field(10.0, gt=0)
    """Normalised observations are clipped to plus and minus this."""
    squash: Literal["clip", "tanh", "tanh_gaussian"] = "clip"
    """How the actor's output meets the action bounds: clipped to them; brought within them by tanh, before
    exploration is added; or by tanh of the sample, exploration included (SAC)."""
    std: Literal["parameter", "scheduled", "state_dependent"] = "parameter"
    """Source of the action standard deviation: one learned parameter per action; `std_schedule`; or a second output of
    the actor."""
    initial_std: float = Field(1.0, gt=0, le=10)
    """Action standard deviation at the start, in units of half the action range, if it is learned."""
    std_schedule: Schedule = schedule(Schedule(kind="linear", start=1.0, end=0.1), gt=0, le=10)
    """Action standard deviation over the training, for std = "scheduled"."""
    minimum_std: float = Field(0.01, ge=1e-6, le=10)
    """A floor under the standard deviation, whatever its source; it keeps exploration from collapsing."""


def activation_function(name: str) -> Callable[[jax.Array], jax.Array]:
    """Return the non-linearity called `name`."""
    return _ACTIVATIONS[name]


def init_mlp(
    key: jax.Array, sizes: Sequence[int], last_gain: float, layer_norm: bool, batch_norm: bool = False
) -> list[Layer]:
    """Make the layers of a perceptron with orthogonal weights and zero biases.

    Args:
        key: a JAX random key.
        sizes: input size, hidden sizes, output size.
        last_gain: scale of the last layer's weights; the hidden ones have sqrt(2) (Saxe et al. 2014).
        layer_norm: whether hidden layers carry the gain and bias of a layer normalisation.
        batch_norm: whether they carry those of a batch normalisation, and its running statistics.
    """
    layers = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        last = index == len(sizes) - 2
        gain = last_gain if last else math.sqrt(2)
        key, use = jax.random.split(key)
        layer = {
            "weight": jax.nn.initializers.orthogonal(gain)(use, (inputs, outputs), jnp.float32),
            "bias": jnp.zeros(outputs),
        }
        if layer_norm and not last:
            layer |= {"norm_gain": jnp.ones(outputs), "norm_bias": jnp.zeros(outputs)}
        if batch_norm and not last:
            layer |= {"batch_gain": jnp.ones(outputs), "batch_bias": jnp.zeros(outputs)}
            layer |= {"batch_mean": jnp.zeros(outputs), "batch_variance": jnp.ones(outputs)}
        layers.append(layer)
    return layers


class BatchStatistics(NamedTuple):
    """Mean and variance, (O,) each, of one hidden layer's values over a batch."""

    mean: jax.Array
    variance: jax.Array


def hidden_layer(
    layer: Layer,
    x: jax.Array,
    activation: Callable[[jax.Array], jax.Array],
    statistics: list[BatchStatistics] | None = None,
) -> jax.Array:
    """Apply one hidden layer to (..., I) and return (..., O).

    A batch normalisation uses its running statistics; or, if a list is given, those of the batch, which it appends.
    """
    x = x @ layer["weight"] + layer["bias"]
    if "batch_gain" in layer:
        now = BatchStatistics(layer["batch_mean"], layer["batch_variance"])
        if statistics is not None:
            axes = tuple(range(x.ndim - 1))
            now = BatchStatistics(x.mean(axes), x.var(axes))
            statistics.append(now)
        x = (x - now.mean) * jax.lax.rsqrt(now.variance + 1e-5) * layer["batch_gain"] + layer["batch_bias"]
    if "norm_gain" in layer:
        centred = x - x.mean(-1, keepdims=True)
        deviation = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        x = centred / deviation * layer["norm_gain"] + layer["norm_bias"]
    return activation(x)


def apply_head(
    layers: list[Layer],
    x: jax.Array,
    activation: Callable[[jax.Array], jax.Array],
    statistics: list[BatchStatistics] | None = None,
) -> jax.Array:
    """Apply hidden layers and a last linear layer to (..., I); `statistics` as in `hidden_layer`."""
    for layer in layers[:-1]:
        x = hidden_layer(layer, x, activation, statistics)
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


def init_actor_critic(key: jax.Array, observation_size: int, action_size: int, settings: PolicySettings) -> Parameters:
    """Make the parameters of an actor and a critic of states."""
    initial_std = settings.std_schedule.start if settings.std == "scheduled" else settings.initial_std
    trunk_key, actor_key, critic_key = jax.random.split(key, 3)
    feature_size = settings.trunk[-1] if settings.trunk else observation_size
    outputs = 2 * action_size if settings.std == "state_dependent" else action_size
    norms = (settings.layer_norm, settings.batch_norm)
    # The trunk is made as a perceptron whose last layer is cut off, so that all its layers are hidden ones.
    trunk = init_mlp(trunk_key, (observation_size, *settings.trunk, 1), 1.0, *norms)[:-1]
    return {
        "trunk": trunk,
        "actor": init_mlp(actor_key, (feature_size, *settings.actor, outputs), 0.01, *norms),
        "critic": init_mlp(critic_key, (feature_size, *settings.critic, 1), 1.0, *norms),
        "log_std": jnp.full(action_size, math.log(initial_std), jnp.float32),
    }


def init_actor(key: jax.Array, observation_size: int, action_size: int, settings: PolicySettings) -> Parameters:
    """Make the parameters of an actor alone, for algorithms whose critics judge actions."""
    parameters = init_actor_critic(key, observation_size, action_size, settings)
    parameters["critic"] = []
    return parameters


def features(parameters: Parameters, observation: jax.Array, settings: PolicySettings) -> jax.Array:
    """Apply the shared trunk to normalised observations (..., D)."""
    activation = activation_function(settings.activation)
    for layer in parameters["trunk"]:
        observation = hidden_layer(layer, observation, activation)
    return observation


def action_distribution(
    parameters: Parameters,
    feature: jax.Array,
    settings: PolicySettings,
    statistics: list[BatchStatistics] | None = None,
    mirror: Mirror | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Return mean (..., A) and log standard deviation, (A,) or (..., A), of the Gaussian over actions.

    Both are in units in which the task's bounds are -1 and 1, or, where samples are squashed, before that. With a
    mirror the features are (..., 2, F), of observations and of their mirror images, whose answers are averaged.
    """
    output = apply_head(parameters["actor"], feature, activation_function(settings.activation), statistics)
    log_std = parameters["log_std"]
    if settings.std == "state_dependent":
        output, offset = jnp.split(output, 2, axis=-1)
        log_std = jnp.clip(log_std + offset, None, _LARGEST_LOG_STD)
    elif settings.std == "scheduled":
        log_std = jax.lax.stop_gradient(log_std)
    mean = jnp.tanh(output) if settings.squash == "tanh" else output
    log_std = jnp.maximum(log_std, math.log(settings.minimum_std))
    return (mean, log_std) if mirror is None else mirror.agreed(mean, log_std)


def sampled_action(mean: jax.Array, log_std: jax.Array, noise: jax.Array | None, settings: PolicySettings) -> jax.Array:
    """Return (..., A) samples from standard normal `noise`; None gives the action without exploration."""
    sample = mean if noise is None else mean + jnp.exp(log_std) * noise
    return jnp.tanh(sample) if settings.squash == "tanh_gaussian" else sample


def state_value(
    parameters: Parameters, feature: jax.Array, settings: PolicySettings, mirror: Mirror | None = None
) -> jax.Array:
    """Return the critic's value, (...,), of features (..., F); with a mirror (..., 2, F), the average of both."""
    value = apply_head(parameters["critic"], feature, activation_function(settings.activation))[..., 0]
    return value if mirror is None else value.mean(-1)


def scheduled_log_std(settings: PolicySettings, progress: jax.Array) -> jax.Array:
    """Return the log standard deviation that the schedule gives at `progress` in [0, 1]."""
    return jnp.log(jnp.maximum(settings.std_schedule.value(progress), settings.minimum_std))
