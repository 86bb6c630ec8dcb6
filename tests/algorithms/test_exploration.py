"""Exploration against its formulas, with the same random numbers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.algorithms.exploration import Exploration, ExplorationSettings, action_distance, perturbed
from surefoot.policies.networks import apply_head, init_mlp
from surefoot.schedules import Schedule


def generator(seed: int) -> np.random.Generator:
    """The generator that `Exploration` uses."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 7))))


def test_ornstein_uhlenbeck_noise_follows_its_recursion() -> None:
    settings = ExplorationSettings(noise="ornstein-uhlenbeck", sigma=0.3, theta=2.0, dt=0.04)
    exploration = Exploration(settings, num_envs=2, action_size=3, seed=5)
    random = generator(5)
    x = np.zeros((2, 3))
    for t in range(50):
        if t == 20:
            exploration.start_episodes(np.array([True, False]))
            x[0] = 0
        x = x - 2.0 * x * 0.04 + 0.3 * 0.2 * random.standard_normal((2, 3))
        noise = exploration.sample(t / 50)
        assert noise.dtype == np.float32
        np.testing.assert_allclose(noise, x, rtol=1e-6, atol=1e-8)


def test_ornstein_uhlenbeck_noise_reaches_its_stationary_std() -> None:
    settings = ExplorationSettings(noise="ornstein-uhlenbeck", sigma=0.5, theta=4.0, dt=0.01)
    exploration = Exploration(settings, num_envs=10_000, action_size=2, seed=0)
    for t in range(200):  # 8 / theta
        noise = exploration.sample(t / 200)
    # The formula is for small dt; with this dt the std is 1 % larger. The sampling error is 0.5 %.
    assert noise.std() == pytest.approx(0.5 / math.sqrt(2 * 4.0), rel=0.03)
    assert abs(noise.mean()) < 0.01


def test_gaussian_noise_has_no_memory() -> None:
    exploration = Exploration(ExplorationSettings(sigma=0.2), num_envs=4, action_size=2, seed=3)
    random = generator(3)
    for t in range(5):
        np.testing.assert_allclose(exploration.sample(t / 5), 0.2 * random.standard_normal((4, 2)), rtol=1e-6)


def test_sigma_follows_its_schedule_and_scales_the_noise() -> None:
    settings = ExplorationSettings(sigma=Schedule(kind="linear", start=0.4, end=0.1, until=0.5))
    exploration = Exploration(settings, num_envs=2, action_size=1, seed=1)
    state = exploration.state()
    for progress, sigma in ((0.0, 0.4), (0.25, 0.25), (0.5, 0.1), (1.0, 0.1)):
        exploration.restore(state)
        expected = sigma * generator(1).standard_normal((2, 1))
        np.testing.assert_allclose(exploration.sample(progress), expected, rtol=1e-6)


def test_an_episode_keeps_its_kind_of_noise() -> None:
    settings = ExplorationSettings(parameter_noise=0.3)
    exploration = Exploration(settings, num_envs=4000, action_size=1, seed=0)
    assert not exploration.uses_parameter_noise.any()
    exploration.start_episodes(np.ones(4000, bool))
    kinds = exploration.uses_parameter_noise.copy()
    assert kinds.mean() == pytest.approx(0.3, abs=0.03)
    for _ in range(3):
        noise = exploration.sample(0.0)
        exploration.start_episodes(np.zeros(4000, bool))
        np.testing.assert_array_equal(exploration.uses_parameter_noise, kinds)
        np.testing.assert_array_equal(noise[kinds], 0)
        assert (noise[~kinds] != 0).all()
    started = np.arange(4000) < 2000
    exploration.start_episodes(started)
    np.testing.assert_array_equal(exploration.uses_parameter_noise[~started], kinds[~started])
    again = exploration.uses_parameter_noise[started]
    assert again.mean() == pytest.approx(0.3, abs=0.04)
    assert (again != kinds[started]).mean() == pytest.approx(2 * 0.3 * 0.7, abs=0.05), "sampled again"


def test_the_scale_of_parameter_noise_follows_the_distance_of_actions() -> None:
    settings = ExplorationSettings(parameter_noise=1, parameter_sigma=0.2, sigma=Schedule(kind="linear", start=0.2))
    exploration = Exploration(settings, 1, 1, 0)
    assert math.isnan(exploration.distance)
    exploration.adapt(0.05, 0.5)
    assert exploration.parameter_sigma == pytest.approx(0.2 * 1.01)
    assert exploration.distance == 0.05
    exploration.adapt(0.15, 0.5)
    exploration.adapt(0.15, 0.5)
    assert exploration.parameter_sigma == pytest.approx(0.2 / 1.01)


def test_the_distance_of_actions_grows_with_parameter_noise() -> None:
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


def test_parameter_noise_has_its_std_and_leaves_normalisations_unchanged() -> None:
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


def test_restored_noise_continues_like_the_original() -> None:
    settings = ExplorationSettings(noise="ornstein-uhlenbeck", parameter_noise=0.5)
    first, second = (Exploration(settings, num_envs=6, action_size=2, seed=seed) for seed in (1, 2))
    random = np.random.default_rng(0)

    def advance(exploration: Exploration, started: np.ndarray) -> np.ndarray:
        exploration.start_episodes(started)
        return exploration.sample(0.0)

    for _ in range(7):
        advance(first, random.random(6) < 0.3)
    first.adapt(0.05, 0.1)
    state = first.state()
    for _ in range(2):  # the saved state must not change when the first continues
        second.restore(state)
        assert (second.parameter_sigma, second.distance) == (0.05 * 1.01, 0.05)
        random = np.random.default_rng(1)
        found = [advance(second, random.random(6) < 0.3) for _ in range(9)]
        random = np.random.default_rng(1)
        first.restore(state)
        for noise in found:
            np.testing.assert_array_equal(advance(first, random.random(6) < 0.3), noise)
        np.testing.assert_array_equal(first.uses_parameter_noise, second.uses_parameter_noise)
    assert not np.array_equal(found[0], found[1])
