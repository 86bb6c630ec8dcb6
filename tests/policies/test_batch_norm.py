"""Batch normalisation against NumPy, and the density of squashed actions against a change of variables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.policies.distributions import TanhGaussian
from surefoot.policies.networks import BatchStatistics, apply_head, hidden_layer, init_mlp


def randomised(layers: list, seed: int = 0) -> list:
    """Put random numbers everywhere, variances positive."""
    random = np.random.default_rng(seed)
    return [
        {
            name: jnp.asarray(random.uniform(0.2, 3, x.shape) if "variance" in name else random.normal(size=x.shape))
            for name, x in layer.items()
        }
        for layer in layers
    ]


def numpy_layer(layer: dict, x: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the layer's output, and mean and variance of its values over (B, I)."""
    weights = {name: np.asarray(value, np.float64) for name, value in layer.items()}
    x = x @ weights["weight"] + weights["bias"]
    mean, variance = x.sum(0) / len(x), np.square(x - x.sum(0) / len(x)).sum(0) / len(x)
    used = (mean, variance) if own else (weights["batch_mean"], weights["batch_variance"])
    y = (x - used[0]) / np.sqrt(used[1] + 1e-5) * weights["batch_gain"] + weights["batch_bias"]
    if "norm_gain" in weights:
        centred = y - y.mean(1, keepdims=True)
        y = centred / np.sqrt(np.square(centred).mean(1, keepdims=True) + 1e-5)
        y = y * weights["norm_gain"] + weights["norm_bias"]
    return np.maximum(y, 0), mean, variance


@pytest.mark.parametrize("layer_norm", [False, True])
def test_batch_norm_uses_running_or_batch_statistics(layer_norm: bool) -> None:
    (layer, _) = randomised(init_mlp(jax.random.PRNGKey(0), (5, 7, 1), 1.0, layer_norm, batch_norm=True))
    x = np.random.default_rng(1).normal(1.0, 2.0, size=(33, 5))
    running, mean, variance = numpy_layer(layer, x, own=False)
    batch, _, _ = numpy_layer(layer, x, own=True)
    assert not np.allclose(running, batch, atol=0.1)
    np.testing.assert_allclose(hidden_layer(layer, jnp.asarray(x), jax.nn.relu), running, rtol=1e-4, atol=1e-4)
    statistics: list[BatchStatistics] = []
    result = hidden_layer(layer, jnp.asarray(x), jax.nn.relu, statistics)
    np.testing.assert_allclose(result, batch, rtol=1e-4, atol=1e-4)
    (one,) = statistics
    np.testing.assert_allclose(one.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.variance, variance, rtol=1e-4)
    # More dimensions in front are one batch.
    more = hidden_layer(layer, jnp.asarray(x).reshape(3, 11, 5), jax.nn.relu, [])
    np.testing.assert_allclose(more.reshape(33, 7), batch, rtol=1e-4, atol=1e-4)


def test_a_head_returns_batch_statistics_of_each_hidden_layer_in_order() -> None:
    layers = randomised(init_mlp(jax.random.PRNGKey(0), (5, 7, 6, 2), 1.0, layer_norm=False, batch_norm=True))
    assert "batch_gain" not in layers[-1]
    x = np.random.default_rng(2).normal(size=(40, 5))
    statistics: list[BatchStatistics] = []
    result = apply_head(layers, jnp.asarray(x), jax.nn.relu, statistics)
    expected = x
    for layer, one in zip(layers[:-1], statistics, strict=True):
        expected, mean, variance = numpy_layer(layer, expected, own=True)
        np.testing.assert_allclose(one.mean, mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(one.variance, variance, rtol=1e-3)
    last = {name: np.asarray(value, np.float64) for name, value in layers[-1].items()}
    np.testing.assert_allclose(result, expected @ last["weight"] + last["bias"], rtol=1e-3, atol=1e-3)


def test_a_new_batch_norm_layer_is_the_identity_up_to_epsilon() -> None:
    plain, normalised = (init_mlp(jax.random.PRNGKey(0), (5, 7, 1), 1.0, False, batch_norm=x) for x in (False, True))
    x = jnp.asarray(np.random.default_rng(3).normal(size=(4, 5)), jnp.float32)
    outputs = [hidden_layer(layers[0], x, jnp.tanh) for layers in (plain, normalised)]
    np.testing.assert_allclose(*outputs, rtol=1e-4)


def slow_log_probability(noise: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """log N(x) - sum log(1 - tanh(x)^2), in float64, with 1 - tanh^2 = 4 / (e^x + e^-x)^2 where digits are lost."""
    std = np.exp(log_std)
    x = mean + std * noise
    density = -0.5 * np.square((x - mean) / std) - np.log(std * np.sqrt(2 * np.pi))
    near = np.log(1 - np.square(np.tanh(np.clip(x, -5, 5))))
    shrinking = np.where(np.abs(x) < 5, near, np.log(4) - 2 * np.logaddexp(x, -x))
    return (density - shrinking).sum(-1)


def test_tanh_gaussian_log_prob_follows_the_change_of_variables() -> None:
    random = np.random.default_rng(4)
    noise, mean = random.normal(size=(2, 200, 3))
    log_std = random.uniform(-2, 0.7, size=(200, 3))
    for given in (log_std, log_std[0]):
        result = TanhGaussian(jnp.asarray(mean), jnp.asarray(given)).log_prob(jnp.asarray(noise))
        assert result.shape == (200,)
        np.testing.assert_allclose(result, slow_log_probability(noise, mean, given), rtol=1e-4, atol=1e-4)


def test_the_density_of_squashed_actions_integrates_to_1() -> None:
    x = np.linspace(-8, 8, 20_001)
    action = np.tanh(x)
    mean, log_std = 0.4, -0.3
    noise = jnp.asarray((x - mean) / np.exp(log_std))[:, None]
    density = np.exp(TanhGaussian(jnp.full((1,), mean), jnp.full((1,), log_std)).log_prob(noise))
    assert np.sum(np.diff(action) * (density[1:] + density[:-1]) / 2) == pytest.approx(1, abs=1e-3)


def test_tanh_gaussian_log_prob_is_accurate_and_finite_near_the_bounds() -> None:
    """There tanh is 1 in float32, and log(1 - tanh^2) would be minus infinity."""
    mean = np.array([[-200.0], [-20.0], [20.0], [200.0]])
    noise, log_std = np.full((4, 1), 0.5), np.zeros(1)
    arguments = (jnp.asarray(x, jnp.float32) for x in (noise, mean, log_std))

    def log_prob(noise, mean, log_std):
        return TanhGaussian(mean, log_std).log_prob(noise)

    value, grads = jax.vmap(jax.value_and_grad(log_prob, argnums=1), (0, 0, None))(*arguments)
    np.testing.assert_allclose(value, slow_log_probability(noise, mean, log_std), rtol=1e-5)
    # Each unit further out doubles, in log, what tanh shrinks.
    np.testing.assert_allclose(grads[:, 0], [-2, -2, 2, 2], rtol=1e-4)
