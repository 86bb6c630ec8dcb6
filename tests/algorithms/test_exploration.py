"""Exploration against its formulas, worked out with the same random numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.algorithms.exploration import Exploration, ExplorationSettings, action_distance, perturbed
from surefoot.policies.networks import apply_head, init_mlp
from surefoot.schedules import Schedule


def generator(seed: int) -> np.random.Generator:
    """The one that `Exploration` draws from."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 7))))


def test_ornstein_uhlenbeck_noise_follows_its_recursion() -> None:
    settings = ExplorationSettings(noise="ornstein-uhlenbeck", sigma=0.3, theta=2.0, dt=0.04)
    exploration = Exploration(settings, copies=2, action_size=3, seed=5)
    random = generator(5)
    x = np.zeros((2, 3))
    for t in range(50):
        if t == 20:
            exploration.begin_episodes(np.array([True, False]))
            x[0] = 0
        x = x - 2.0 * x * 0.04 + 0.3 * 0.2 * random.standard_normal((2, 3))
        found = exploration.draw(t)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, x, rtol=1e-6, atol=1e-8)


def test_ornstein_uhlenbeck_noise_settles_at_its_stationary_deviation() -> None:
    settings = ExplorationSettings(noise="ornstein-uhlenbeck", sigma=0.5, theta=4.0, dt=0.01)
    exploration = Exploration(settings, copies=10_000, action_size=2, seed=0)
    for t in range(200):  # eight times 1 / theta
        noise = exploration.draw(t)
    # For small dt; with this one the deviation is another 1 % more. The sample's own error is 0.5 %.
    assert noise.std() == pytest.approx(0.5 / math.sqrt(2 * 4.0), rel=0.03)
    assert abs(noise.mean()) < 0.01


def test_gaussian_noise_has_no_memory() -> None:
    exploration = Exploration(ExplorationSettings(sigma=0.2), copies=4, action_size=2, seed=3)
    random = generator(3)
    for t in range(5):
        np.testing.assert_allclose(exploration.draw(t / 5), 0.2 * random.standard_normal((4, 2)), rtol=1e-6)


def test_sigma_follows_its_schedule_and_scales_the_noise() -> None:
    settings = ExplorationSettings(sigma=Schedule(kind="linear", start=0.4, end=0.1, until=0.5))
    exploration = Exploration(settings, copies=2, action_size=1, seed=1)
    for progress, sigma in ((0.0, 0.4), (0.25, 0.25), (0.5, 0.1), (1.0, 0.1)):
        assert exploration.target_distance(progress) == pytest.approx(sigma)
    np.testing.assert_allclose(exploration.draw(0.25), 0.25 * generator(1).standard_normal((2, 1)), rtol=1e-6)
    fixed = Exploration(ExplorationSettings(sigma=0.4, parameter_distance=0.15), 1, 1, 0)
    assert fixed.target_distance(0.0) == 0.15


def test_an_episode_keeps_the_kind_it_was_given() -> None:
    settings = ExplorationSettings(parameter_noise=0.3)
    exploration = Exploration(settings, copies=4000, action_size=1, seed=0)
    assert not exploration.by_weights.any()
    exploration.begin_episodes(np.ones(4000, bool))
    kinds = exploration.by_weights.copy()
    assert kinds.mean() == pytest.approx(0.3, abs=0.03)
    for t in range(3):
        noise = exploration.draw(t)
        exploration.begin_episodes(np.zeros(4000, bool))
        np.testing.assert_array_equal(exploration.by_weights, kinds)
        np.testing.assert_array_equal(noise[kinds], 0)
        assert (noise[~kinds] != 0).all()
    started = np.arange(4000) < 2000
    exploration.begin_episodes(started)
    np.testing.assert_array_equal(exploration.by_weights[~started], kinds[~started])
    again = exploration.by_weights[started]
    assert again.mean() == pytest.approx(0.3, abs=0.04)
    assert (again != kinds[started]).mean() == pytest.approx(2 * 0.3 * 0.7, abs=0.05), "drawn afresh"


def test_the_scale_of_weight_noise_is_nudged_towards_the_target() -> None:
    exploration = Exploration(ExplorationSettings(parameter_noise=1, parameter_sigma=0.2), 1, 1, 0)
    assert math.isnan(exploration.distance)
    exploration.adapt(0.05, 0.1)
    assert exploration.parameter_sigma == pytest.approx(0.2 * 1.01)
    assert exploration.distance == 0.05
    exploration.adapt(0.2, 0.1)
    exploration.adapt(0.2, 0.1)
    assert exploration.parameter_sigma == pytest.approx(0.2 / 1.01)
    fixed = Exploration(ExplorationSettings(parameter_rule="fixed", parameter_sigma=0.2), 1, 1, 0)
    fixed.adapt(0.05, 0.1)
    assert (fixed.parameter_sigma, fixed.distance) == (0.2, 0.05)


def test_bisection_finds_the_scale_of_a_known_distance() -> None:
    exploration = Exploration(ExplorationSettings(parameter_rule="bisection"), 1, 1, 0)
    exploration.search(lambda sigma: sigma**2 / 10, 0.5)
    assert exploration.distance == pytest.approx(0.5, abs=1e-3)
    assert exploration.parameter_sigma == pytest.approx(math.sqrt(5), abs=3e-3)  # the slope there is 0.45
    exploration.search(lambda sigma: 0.0, 0.5)  # out of reach
    assert exploration.parameter_sigma == pytest.approx(100)


def test_bisection_finds_the_scale_of_a_networks_distance() -> None:
    layers = init_mlp(jax.random.PRNGKey(0), (6, 32, 32, 2), 0.01, layer_norm=True)
    states = jnp.asarray(np.random.default_rng(0).normal(size=(256, 6)), jnp.float32)

    @jax.jit
    def measure(sigma: float) -> jax.Array:
        actions, others = (
            jnp.tanh(apply_head(x, states, jax.nn.relu))
            for x in (layers, perturbed(layers, jax.random.PRNGKey(1), sigma))
        )
        return action_distance(actions, others)

    assert measure(0.0) < 1e-6 < 0.01 < measure(0.05) < measure(0.5)
    exploration = Exploration(ExplorationSettings(parameter_rule="bisection"), 1, 1, 0)
    for target in (0.05, 0.2, 0.5):
        exploration.search(measure, target)
        assert exploration.distance == pytest.approx(target, abs=1e-3)
        assert measure(exploration.parameter_sigma) == pytest.approx(target, abs=1e-3)


def test_weight_noise_has_its_deviation_and_spares_normalisations() -> None:
    layers = init_mlp(jax.random.PRNGKey(0), (100, 100, 100, 100), 0.01, layer_norm=True, batch_norm=True)
    noisy = perturbed(layers, jax.random.PRNGKey(1), jnp.float32(0.3))
    noises = []
    for layer, other in zip(layers, noisy, strict=True):
        assert layer.keys() == other.keys()
        for name in layer:
            if name in ("weight", "bias"):
                noises.append(np.asarray(other[name] - layer[name]))
                assert noises[-1].std() == pytest.approx(0.3, rel=0.25 if name == "bias" else 0.03), name
                assert abs(noises[-1].mean()) < (0.12 if name == "bias" else 0.012)
            else:
                np.testing.assert_array_equal(layer[name], other[name], err_msg=name)
    assert {name for layer in layers for name in layer} > {"norm_gain", "norm_bias", "batch_gain", "batch_variance"}
    weights = np.stack([x.ravel() for x in noises if x.ndim == 2])
    np.testing.assert_allclose(np.corrcoef(weights), np.eye(3), atol=0.04)


def test_the_distance_is_a_root_mean_square() -> None:
    assert action_distance(jnp.array([[1.0, 0.0], [2.0, 5.0]]), jnp.array([[1.0, 2.0], [4.0, 4.0]])) == 1.5


def test_restored_noise_goes_on_as_the_first() -> None:
    settings = ExplorationSettings(noise="ornstein-uhlenbeck", parameter_noise=0.5)
    first, second = (Exploration(settings, copies=6, action_size=2, seed=seed) for seed in (1, 2))
    random = np.random.default_rng(0)

    def go_on(exploration: Exploration, started: np.ndarray) -> np.ndarray:
        exploration.begin_episodes(started)
        return exploration.draw(0)

    for _ in range(7):
        go_on(first, random.random(6) < 0.3)
    first.adapt(0.05, 0.1)
    state = first.state()
    for _ in range(2):  # what was taken down must not change as the first goes on
        second.restore(state)
        assert (second.parameter_sigma, second.distance) == (0.05 * 1.01, 0.05)
        random = np.random.default_rng(1)
        found = [go_on(second, random.random(6) < 0.3) for _ in range(9)]
        random = np.random.default_rng(1)
        first.restore(state)
        for noise in found:
            np.testing.assert_array_equal(go_on(first, random.random(6) < 0.3), noise)
        np.testing.assert_array_equal(first.by_weights, second.by_weights)
    assert not np.array_equal(found[0], found[1])
