"""Networks: shapes, how they begin, and what each layer computes, against plain NumPy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pydantic
import pytest

from surefoot.policies.networks import (
    PolicySettings,
    apply_head,
    hidden_layer,
    init_actor_critic,
    init_mlp,
    scheduled_log_std,
)
from surefoot.schedules import Schedule

KEY = jax.random.PRNGKey(0)


def shapes(layers) -> list[tuple[int, ...]]:
    return [layer["weight"].shape for layer in layers]


def randomised(tree, seed: int = 0):
    """Put random numbers everywhere, so that no bias or gain is left at 0 or 1."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), tree)


def test_actor_and_critic_are_separate_without_a_trunk() -> None:
    network = init_actor_critic(KEY, 5, 2, PolicySettings(actor=(8, 7), critic=(6,)))
    assert network.trunk == []
    assert shapes(network.actor) == [(5, 8), (8, 7), (7, 2)]
    assert shapes(network.critic) == [(5, 6), (6, 1)]
    assert network.log_std.shape == (2,)


def test_a_trunk_precedes_actor_and_critic() -> None:
    settings = PolicySettings(trunk=(9, 4), actor=(), critic=(3,))
    network = init_actor_critic(KEY, 5, 2, settings)
    assert shapes(network.trunk) == [(5, 9), (9, 4)]
    assert shapes(network.actor) == [(4, 2)]
    assert shapes(network.critic) == [(4, 3), (3, 1)]
    observation = jnp.ones((7, 5))
    assert network.features(observation).shape == (7, 4)
    for head in (lambda n: n.distribution(observation).mean.sum(), lambda n: n(observation)[1].sum()):
        grads = jax.grad(head)(randomised(network))
        assert all(jnp.abs(layer["weight"]).max() > 0 for layer in grads.trunk)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_outputs_have_the_documented_shapes(leading: tuple[int, ...]) -> None:
    for std, std_shape in (("parameter", (2,)), ("scheduled", (2,)), ("state_dependent", (*leading, 2))):
        settings = PolicySettings(std=std)
        network = init_actor_critic(KEY, 5, 2, settings)
        observation = jnp.ones((*leading, 5))
        mean, log_std = network.distribution(observation)
        assert mean.shape == (*leading, 2)
        assert log_std.shape == std_shape
        assert network(observation)[1].shape == leading


@pytest.mark.parametrize("sizes", [(6, 20, 4), (20, 6, 20)])
def test_initial_weights_are_orthogonal_and_biases_zero(sizes: tuple[int, ...]) -> None:
    layers = init_mlp(KEY, sizes, last_gain=0.01, layer_norm=False)
    for layer, gain in zip(layers, (np.sqrt(2), 0.01), strict=True):
        weight = np.asarray(layer["weight"]) / gain
        small = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-5)
        np.testing.assert_array_equal(layer["bias"], 0)


def test_initial_layers_differ_from_each_other_and_by_key() -> None:
    first, second, _ = init_mlp(KEY, (8, 8, 8, 1), 1.0, False)
    other = init_mlp(jax.random.PRNGKey(1), (8, 8, 8, 1), 1.0, False)[0]
    assert not np.allclose(first["weight"], second["weight"])
    assert not np.allclose(first["weight"], other["weight"])


def test_an_untrained_actor_has_means_near_zero() -> None:
    settings = PolicySettings()
    network = init_actor_critic(KEY, 5, 2, settings)
    observation = jnp.asarray(np.random.default_rng(0).normal(size=(100, 5)), jnp.float32)
    mean, _ = network.distribution(observation)
    assert 0 < jnp.abs(mean).max() < 0.1


@pytest.mark.parametrize(
    "activation, formula",
    [
        ("tanh", np.tanh),
        ("relu", lambda x: np.maximum(x, 0)),
        ("elu", lambda x: np.where(x > 0, x, np.expm1(x))),
        ("silu", lambda x: x / (1 + np.exp(-x))),
    ],
)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_network_outputs_equal_numpy(activation: str, formula, layer_norm: bool) -> None:
    settings = PolicySettings(trunk=(6,), actor=(8,), critic=(4, 3), activation=activation, layer_norm=layer_norm)
    network = randomised(init_actor_critic(KEY, 5, 2, settings))
    observation = np.random.default_rng(1).normal(size=(10, 5))

    def hidden(layer, x):
        x = x @ np.float64(layer["weight"]) + np.float64(layer["bias"])
        if layer_norm:
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            x = x * np.float64(layer["norm_gain"]) + np.float64(layer["norm_bias"])
        return formula(x)

    def head(layers, x):
        for layer in layers[:-1]:
            x = hidden(layer, x)
        return x @ np.float64(layers[-1]["weight"]) + np.float64(layers[-1]["bias"])

    feature = hidden(network.trunk[0], observation)
    observation = jnp.float32(observation)
    np.testing.assert_allclose(network.features(observation), feature, rtol=1e-3, atol=1e-4)
    mean, _ = network.distribution(observation)
    np.testing.assert_allclose(mean, head(network.actor, feature), rtol=1e-3, atol=1e-3)
    value = network(observation)[1]
    np.testing.assert_allclose(value, head(network.critic, feature)[:, 0], rtol=1e-3, atol=1e-3)


def test_only_hidden_layers_have_layer_norm() -> None:
    layers = init_mlp(KEY, (5, 8, 2), 1.0, layer_norm=True)
    assert set(layers[0]) == {"weight", "bias", "norm_gain", "norm_bias"}
    assert set(layers[1]) == {"weight", "bias"}
    x = jnp.asarray(100 + 30 * np.random.default_rng(2).normal(size=(4, 5)), jnp.float32)
    out = np.asarray(hidden_layer(layers[0], x, lambda x: x))
    np.testing.assert_allclose(out.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(1), 1, rtol=1e-4)


def test_a_head_without_hidden_layers_is_linear() -> None:
    layers = randomised(init_mlp(KEY, (3, 2), 1.0, False))
    result = apply_head(layers, jnp.eye(3), jnp.tanh)
    np.testing.assert_allclose(result, layers[0]["weight"] + layers[0]["bias"], rtol=1e-6)


def test_squash_tanh_applies_tanh_to_the_mean() -> None:
    linear, squashed = PolicySettings(squash="clip"), PolicySettings(squash="tanh")
    network = randomised(init_actor_critic(KEY, 5, 2, linear))
    x = jnp.asarray(np.random.default_rng(4).normal(size=(20, 5)), jnp.float32)
    mean, _ = network.distribution(x)
    assert jnp.abs(mean).max() > 1
    squashed_mean = dataclasses.replace(network, settings=squashed).distribution(x).mean
    np.testing.assert_allclose(squashed_mean, np.tanh(mean), rtol=1e-5)


@pytest.mark.parametrize("std", ["parameter", "scheduled", "state_dependent"])
def test_the_initial_std_is_that_of_the_settings(std: str) -> None:
    settings = PolicySettings(std=std, initial_std=0.4, std_schedule=Schedule(start=0.4))
    network = init_actor_critic(KEY, 5, 2, settings)
    _, log_std = network.distribution(jnp.zeros((3, 5)))
    np.testing.assert_allclose(np.exp(log_std), 0.4, rtol=1e-5)


@pytest.mark.parametrize("std", ["parameter", "scheduled", "state_dependent"])
def test_the_std_has_a_lower_limit(std: str) -> None:
    settings = PolicySettings(std=std, minimum_std=0.2)
    network = dataclasses.replace(init_actor_critic(KEY, 5, 2, settings), log_std=jnp.array([-10.0, 0.5]))
    _, log_std = network.distribution(jnp.zeros((1, 5)))
    np.testing.assert_allclose(np.exp(log_std).reshape(-1), [0.2, np.exp(0.5)], rtol=1e-5)


def test_only_a_learned_std_has_a_gradient() -> None:
    for std, moves in (("parameter", True), ("scheduled", False), ("state_dependent", True)):
        settings = PolicySettings(std=std)
        network = init_actor_critic(KEY, 5, 2, settings)
        grads = jax.grad(lambda network: network.distribution(jnp.ones((1, 5))).log_std.sum())(network)
        assert bool((grads.log_std != 0).all()) == moves, std
        assert bool((grads.actor[-1]["weight"] != 0).any()) == (std == "state_dependent"), std


def test_a_state_dependent_std_depends_on_the_observation() -> None:
    settings = PolicySettings(std="state_dependent", actor=(8,))
    network = randomised(init_actor_critic(KEY, 5, 2, settings))
    assert shapes(network.actor) == [(5, 8), (8, 4)]
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, 5)), jnp.float32)
    output = apply_head(network.actor, x, jnp.tanh)
    mean, log_std = network.distribution(x)
    np.testing.assert_allclose(mean, output[:, :2], rtol=1e-5)
    expected = np.maximum(output[:, 2:] + network.log_std, np.log(settings.minimum_std))
    np.testing.assert_allclose(log_std, expected, rtol=1e-5)
    assert not np.allclose(log_std[0], log_std[1])


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("linear", [0.8, 0.65, 0.5, 0.2]),
        ("cosine", [0.8, 0.8 - 0.6 * (1 - np.sqrt(0.5)) / 2, 0.5, 0.2]),
        ("exponential", [0.8, 0.8 * (1 / 4) ** 0.25, 0.4, 0.2]),
    ],
)
def test_std_schedules(schedule: Any, expected: list[float]) -> None:
    settings = PolicySettings(std_schedule=Schedule(kind=schedule, start=0.8, end=0.2))
    result = [np.exp(scheduled_log_std(settings, jnp.float32(progress))) for progress in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("schedule, end", [("linear", 0.0), ("cosine", 0.0), ("exponential", 0.01)])
def test_a_std_schedule_ends_at_the_lower_limit(schedule: Any, end: float) -> None:
    settings = PolicySettings(std_schedule=Schedule(kind=schedule, start=1.0, end=end), minimum_std=0.25)
    result = np.exp([scheduled_log_std(settings, jnp.float32(progress)) for progress in (0, 0.25, 1)])
    np.testing.assert_allclose(result[[0, 2]], [1.0, 0.25], rtol=1e-5)
    assert 0.25 < result[1] < 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"activation": "gelu"},
        {"initial_std": 0},
        {"initial_std": float("inf")},
        {"minimum_std": 0},
        {"observation_clip": 0},
        {"std": "none"},
        {"squash": "sigmoid"},
        {"actor": "64"},
        {"actor": (64, 0)},
        {"critic": (-1,)},
        {"trunk": (10**9,)},
        {"hidden": (64, 64)},
    ],
)
def test_invalid_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(pydantic.ValidationError):
        PolicySettings(**wrong)
    with pytest.raises(pydantic.ValidationError):
        PolicySettings().initial_std = 2.0  # pyrefly: ignore
