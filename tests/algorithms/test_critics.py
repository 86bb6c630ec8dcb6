"""Critics against the same networks written in plain NumPy."""

import jax
import numpy as np
import pytest

from surefoot.algorithms.critics import ActionLayer, Critics, init_critics
from surefoot.policies.networks import BatchStatistics, PolicySettings

OBSERVATION, ACTION, BATCH, CRITICS = 5, 2, 7, 3
ENTRIES = ("first", "second", "branch")
ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}


def make(entry: ActionLayer, policy: PolicySettings, count: int = CRITICS) -> Critics:
    """Make critics with random arrays; gains of 1 or biases of 0 would hide faults."""
    critics = init_critics(jax.random.PRNGKey(1), OBSERVATION, ACTION, policy, entry, count)
    random = np.random.default_rng(2)

    def randomised(path, array):
        positive = "variance" in jax.tree_util.keystr(path)
        values = random.uniform(0.5, 2.0, array.shape) if positive else array + 0.3 * random.normal(size=array.shape)
        return np.float32(values)

    return jax.tree_util.tree_map_with_path(randomised, critics)


def batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.normal(size=(BATCH, OBSERVATION)), random.uniform(-1, 1, (BATCH, ACTION))


def numpy_values(critics: Critics, critic: int, entry: str, activation: str, training: bool) -> tuple[np.ndarray, list]:
    """Return the values (B,) of one critic in float64, and mean and variance of each batch normalisation."""
    layers, branch = (
        [{name: np.float64(array[critic]) for name, array in layer.items()} for layer in part]
        for part in (critics.layers, critics.branch)
    )
    x, action = batch()
    moments = []
    for index, layer in enumerate(layers):
        if index == {"first": 0, "second": 1}.get(entry):
            x = np.concatenate([x, action], 1)
        x = x @ layer["weight"] + layer["bias"]
        if index == len(layers) - 1:
            return x[:, 0], moments
        if entry == "branch" and index == len(layers) - 2:
            x = x + action @ branch[0]["weight"] + branch[0]["bias"]
        if "batch_gain" in layer:
            mean, variance = (x.mean(0), x.var(0)) if training else (layer["batch_mean"], layer["batch_variance"])
            moments += [(mean, variance)] if training else []
            x = (x - mean) / np.sqrt(variance + 1e-5) * layer["batch_gain"] + layer["batch_bias"]
        if "norm_gain" in layer:
            mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
            x = (x - mean) / np.sqrt(variance + 1e-5) * layer["norm_gain"] + layer["norm_bias"]
        x = ACTIVATIONS[activation](x)
    raise AssertionError("a critic has no last layer")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "settings, training",
    [
        ({}, False),
        ({"activation": "relu"}, True),
        ({"activation": "relu", "critic_activation": "tanh"}, False),
        ({"layer_norm": True}, False),
        ({"batch_norm": True}, False),
        ({"batch_norm": True}, True),
        ({"batch_norm": True, "layer_norm": True}, True),
    ],
)
@pytest.mark.parametrize("widths", [(6,), (6, 4), (6, 4, 3)])
def test_values_equal_those_of_plain_numpy_networks(
    entry: ActionLayer, settings: dict, training: bool, widths: tuple
) -> None:
    policy = PolicySettings(critic=widths, **settings)
    critics = make(entry, policy)
    statistics: list[BatchStatistics] = []
    values = critics(*map(np.float32, batch()), statistics if training else None)
    assert values.shape == (CRITICS, BATCH)
    activation = policy.activation if policy.critic_activation == "same" else policy.critic_activation
    for critic in range(CRITICS):
        expected, moments = numpy_values(critics, critic, entry, activation, training)
        np.testing.assert_allclose(values[critic], expected, rtol=1e-4, atol=1e-5)
        assert len(statistics) == len(moments)
        for result, (mean, variance) in zip(statistics, moments, strict=True):
            np.testing.assert_allclose(result.mean[critic], mean, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(result.variance[critic], variance, rtol=1e-4, atol=1e-5)
    normalised = len(widths) - (entry == "branch") if training and policy.batch_norm else 0
    assert [len(result.mean[0]) for result in statistics] == list(widths[:normalised])


@pytest.mark.parametrize("entry", ENTRIES)
def test_shapes_depend_on_the_action_layer(entry: ActionLayer) -> None:
    policy = PolicySettings(critic=(6, 4))
    critics = init_critics(jax.random.PRNGKey(0), OBSERVATION, ACTION, policy, entry, CRITICS)
    shapes = [layer["weight"].shape for layer in critics.layers]
    beside, after = (ACTION if entry == name else 0 for name in ("first", "second"))
    assert shapes == [(CRITICS, OBSERVATION + beside, 6), (CRITICS, 6 + after, 4), (CRITICS, 4, 1)]
    branches = [{name: array.shape for name, array in layer.items()} for layer in critics.branch]
    assert branches == ([{"weight": (CRITICS, ACTION, 4), "bias": (CRITICS, 4)}] if entry == "branch" else [])


@pytest.mark.parametrize("entry", ENTRIES)
def test_hidden_weights_are_orthogonal_including_those_of_the_action(entry: ActionLayer) -> None:
    policy = PolicySettings(critic=(20, 12))
    critics = init_critics(jax.random.PRNGKey(0), OBSERVATION, ACTION, policy, entry, 2)
    for layer in critics.layers[:-1] + critics.branch:
        for weight in np.asarray(layer["weight"]):
            short = weight if len(weight) <= len(weight[0]) else weight.T
            np.testing.assert_allclose(short @ short.T, 2 * np.eye(len(short)), atol=1e-5)


def test_the_action_can_enter_the_last_layer() -> None:
    policy = PolicySettings(critic=(6,), batch_norm=True)
    critics = make("second", policy)
    assert critics.layers[1]["weight"].shape == (CRITICS, 6 + ACTION, 1)
    values = critics(*map(np.float32, batch()))
    observation, action = batch()
    other = critics(np.float32(observation), np.float32(action + 1))
    # The action enters a linear layer, so that a change of it changes all values alike.
    expected = critics.layers[1]["weight"][:, 6:, 0].sum(1)
    np.testing.assert_allclose(other - values, np.repeat(expected[:, None], BATCH, 1), rtol=1e-3, atol=1e-5)


def test_critics_differ_and_are_independent() -> None:
    policy = PolicySettings(critic=(6,))
    critics = init_critics(jax.random.PRNGKey(0), OBSERVATION, ACTION, policy, "first", CRITICS)
    arguments = (*map(np.float32, batch()),)
    values = critics(*arguments)
    assert len(np.unique(np.round(values, 4), axis=0)) == CRITICS
    moved = jax.tree.map(lambda x: x.at[1].add(1.0), critics)
    changed = moved(*arguments)
    np.testing.assert_array_equal(critics[1:](*arguments), values[1:])
    assert (changed[0] == values[0]).all() and (changed[2] == values[2]).all() and (changed[1] != values[1]).all()


def test_without_hidden_layers_a_critic_is_linear() -> None:
    policy = PolicySettings(critic=())
    critics = make("first", policy)
    values = critics(*map(np.float32, batch()))
    layer = critics.layers[0]
    expected = np.concatenate(batch(), 1) @ layer["weight"][:, :, 0].T + layer["bias"][:, 0]
    np.testing.assert_allclose(values, expected.T, rtol=1e-4, atol=1e-5)
