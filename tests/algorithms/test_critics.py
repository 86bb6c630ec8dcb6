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
    """Make critics of which no array has a value that hides a fault, such as a gain of 1."""
    critics = init_critics(jax.random.PRNGKey(1), OBSERVATION, ACTION, policy, entry, count)
    random = np.random.default_rng(2)

    def shaken(path, array):
        positive = "variance" in jax.tree_util.keystr(path)
        drawn = random.uniform(0.5, 2.0, array.shape) if positive else array + 0.3 * random.normal(size=array.shape)
        return np.float32(drawn)

    return jax.tree_util.tree_map_with_path(shaken, critics)


def batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.normal(size=(BATCH, OBSERVATION)), random.uniform(-1, 1, (BATCH, ACTION))


def numpy_values(critics: Critics, one: int, entry: str, activation: str, training: bool) -> tuple[np.ndarray, list]:
    """The values (B,) of critic `one` in float64, and the mean and variance that each batch normalisation saw."""
    layers, branch = (
        [{name: np.float64(array[one]) for name, array in layer.items()} for layer in part]
        for part in (critics.layers, critics.branch)
    )
    x, action = batch()
    seen = []
    for index, layer in enumerate(layers):
        if index == {"first": 0, "second": 1}.get(entry):
            x = np.concatenate([x, action], 1)
        x = x @ layer["weight"] + layer["bias"]
        if index == len(layers) - 1:
            return x[:, 0], seen
        if entry == "branch" and index == len(layers) - 2:
            x = x + action @ branch[0]["weight"] + branch[0]["bias"]
        if "batch_gain" in layer:
            mean, variance = (x.mean(0), x.var(0)) if training else (layer["batch_mean"], layer["batch_variance"])
            seen += [(mean, variance)] if training else []
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
        ({"layer_norm": True}, False),
        ({"batch_norm": True}, False),
        ({"batch_norm": True}, True),
        ({"batch_norm": True, "layer_norm": True}, True),
    ],
)
@pytest.mark.parametrize("widths", [(6,), (6, 4), (6, 4, 3)])
def test_values_are_those_of_the_plain_network(
    entry: ActionLayer, settings: dict, training: bool, widths: tuple
) -> None:
    policy = PolicySettings(critic=widths, **settings)
    critics = make(entry, policy)
    statistics: list[BatchStatistics] = []
    values = critics(*map(np.float32, batch()), statistics if training else None)
    assert values.shape == (CRITICS, BATCH)
    for one in range(CRITICS):
        wanted, seen = numpy_values(critics, one, entry, policy.activation, training)
        np.testing.assert_allclose(values[one], wanted, rtol=1e-4, atol=1e-5)
        assert len(statistics) == len(seen)
        for found, (mean, variance) in zip(statistics, seen, strict=True):
            np.testing.assert_allclose(found.mean[one], mean, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found.variance[one], variance, rtol=1e-4, atol=1e-5)
    normalised = len(widths) - (entry == "branch") if training and policy.batch_norm else 0
    assert [len(found.mean[0]) for found in statistics] == list(widths[:normalised])


@pytest.mark.parametrize("entry", ENTRIES)
def test_where_the_action_enters_shows_in_the_shapes(entry: ActionLayer) -> None:
    policy = PolicySettings(critic=(6, 4))
    critics = init_critics(jax.random.PRNGKey(0), OBSERVATION, ACTION, policy, entry, CRITICS)
    shapes = [layer["weight"].shape for layer in critics.layers]
    beside, after = (ACTION if entry == name else 0 for name in ("first", "second"))
    assert shapes == [(CRITICS, OBSERVATION + beside, 6), (CRITICS, 6 + after, 4), (CRITICS, 4, 1)]
    branches = [{name: array.shape for name, array in layer.items()} for layer in critics.branch]
    assert branches == ([{"weight": (CRITICS, ACTION, 4), "bias": (CRITICS, 4)}] if entry == "branch" else [])


@pytest.mark.parametrize("entry", ENTRIES)
def test_hidden_weights_are_orthogonal_where_the_action_enters_too(entry: ActionLayer) -> None:
    policy = PolicySettings(critic=(20, 12))
    critics = init_critics(jax.random.PRNGKey(0), OBSERVATION, ACTION, policy, entry, 2)
    for layer in critics.layers[:-1] + critics.branch:
        for weight in np.asarray(layer["weight"]):
            short = weight if len(weight) <= len(weight[0]) else weight.T
            np.testing.assert_allclose(short @ short.T, 2 * np.eye(len(short)), atol=1e-5)


def test_one_hidden_layer_whose_second_layer_is_the_last() -> None:
    policy = PolicySettings(critic=(6,), batch_norm=True)
    critics = make("second", policy)
    assert critics.layers[1]["weight"].shape == (CRITICS, 6 + ACTION, 1)
    values = critics(*map(np.float32, batch()))
    observation, action = batch()
    other = critics(np.float32(observation), np.float32(action + 1))
    # The action enters a linear layer, so that a change of it counts the same in every state.
    wanted = critics.layers[1]["weight"][:, 6:, 0].sum(1)
    np.testing.assert_allclose(other - values, np.repeat(wanted[:, None], BATCH, 1), rtol=1e-3, atol=1e-5)


def test_critics_side_by_side_differ_and_do_not_touch_each_other() -> None:
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
    wanted = np.concatenate(batch(), 1) @ layer["weight"][:, :, 0].T + layer["bias"][:, 0]
    np.testing.assert_allclose(values, wanted.T, rtol=1e-4, atol=1e-5)
