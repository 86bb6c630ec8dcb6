"""Augmented random search against the paper's formulas in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surefoot.algorithms import ars
from surefoot.algorithms.ars import ARSSettings
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import init_normaliser

LINEAR = PolicySettings(actor=(), critic=())
OBSERVATION, ACTION = 5, 3
STEP_SIZE = 0.05
# Returns of 8 directions: forwards, backwards.
RETURNS = np.array(
    [
        [-93.1, -101.4],
        [-87.0, -112.9],
        [3.2, -99.8],
        [-105.5, -98.7],
        [-92.2, -92.4],
        [-110.1, 1.7],
        [-88.8, -89.0],
        [-120.3, -97.1],
    ],
    np.float32,
)


def start(settings: ARSSettings, policy: PolicySettings = LINEAR, seed: int = 0):
    state = ars.init(jax.random.PRNGKey(seed), OBSERVATION, ACTION, policy)
    return ars.sample_directions(state, settings)


def by_the_paper(weights, directions, returns, top, step_size):
    """Mania et al. 2018, algorithm 1, steps 6 and 7; by hand."""
    order = sorted(range(len(returns)), key=lambda k: -max(returns[k]))[:top]
    sigma = np.std([returns[k][sign] for k in order for sign in (0, 1)])
    total = sum((float(returns[k][0]) - float(returns[k][1])) * directions[k] for k in order)
    return weights + step_size / (top * sigma) * total


@pytest.mark.parametrize("top", [None, 1, 3, 8])
def test_an_update_follows_the_paper(top):
    settings = ARSSettings(directions=8, top_directions=top)
    state, directions = start(settings)
    drawn = np.asarray(directions[0]["weight"], float)
    state, metrics = ars.update(state, directions, jnp.asarray(RETURNS.ravel()), jnp.float32(STEP_SIZE), settings)
    expected = by_the_paper(np.zeros((OBSERVATION, ACTION)), drawn, RETURNS, top or 8, STEP_SIZE)
    np.testing.assert_allclose(state.network.actor[0]["weight"], expected, rtol=1e-5)
    assert metrics["search/step"] == pytest.approx(np.linalg.norm(expected), rel=1e-5)
    assert metrics["search/best"] == pytest.approx(3.2)
    # A second update goes on from there.
    state, directions = ars.sample_directions(state, settings)
    drawn = np.asarray(directions[0]["weight"], float)
    state, _ = ars.update(state, directions, jnp.asarray(RETURNS[::-1].ravel()), jnp.float32(STEP_SIZE), settings)
    expected = by_the_paper(expected, drawn, RETURNS[::-1], top or 8, STEP_SIZE)
    np.testing.assert_allclose(state.network.actor[0]["weight"], expected, rtol=1e-5)


def test_candidates_are_pairs_around_the_weights():
    settings = ARSSettings(directions=4)
    state, directions = start(settings, PolicySettings(actor=(6,), critic=()))
    numbers = jnp.array([0, 1, 6, 7, 7])
    actors = ars.candidate_actors(state, directions, numbers, jnp.float32(0.25))
    for layer, actor, direction in zip(state.network.actor, actors, directions, strict=True):
        change = np.asarray(actor["weight"] - layer["weight"][None])
        drawn = 0.25 * np.asarray(direction["weight"])
        np.testing.assert_allclose(change, [drawn[0], -drawn[0], drawn[3], -drawn[3], -drawn[3]], atol=1e-6)
        np.testing.assert_array_equal(actor["bias"], np.zeros_like(actor["bias"]))


def test_a_linear_policy_starts_at_zero_and_a_network_does_not():
    settings = ARSSettings()
    assert not np.any(start(settings)[0].network.actor[0]["weight"])
    assert np.all(np.any(start(settings, PolicySettings(actor=(6,), critic=()))[0].network.actor[0]["weight"]))


def test_directions_are_standard_normal_for_weights_and_zero_for_biases():
    state, directions = start(ARSSettings(directions=3000))
    weights = np.asarray(directions[0]["weight"])
    assert abs(weights.mean()) < 0.02 and abs(weights.std() - 1) < 0.02
    assert not np.any(directions[0]["bias"])
    # The next directions differ.
    again = ars.sample_directions(state, ARSSettings(directions=3000))[1]
    assert abs(np.corrcoef(weights.ravel(), np.asarray(again[0]["weight"]).ravel())[0, 1]) < 0.02


def test_the_evaluated_policy_is_the_average_of_the_weights():
    settings = ARSSettings(directions=8, ema_decay=0.75)
    state, directions = start(settings)
    expected = np.zeros((OBSERVATION, ACTION))
    for returns in (RETURNS, RETURNS[::-1], 2 * RETURNS):
        state, _ = ars.update(state, directions, jnp.asarray(returns.ravel()), jnp.float32(STEP_SIZE), settings)
        expected = 0.75 * expected + 0.25 * np.asarray(state.network.actor[0]["weight"])
        np.testing.assert_allclose(state.average.actor[0]["weight"], expected, rtol=1e-5)
    # Without averaging, it is the newest.
    state, _ = ars.update(
        state, directions, jnp.asarray(RETURNS.ravel()), jnp.float32(STEP_SIZE), ARSSettings(directions=8)
    )
    np.testing.assert_array_equal(state.average.actor[0]["weight"], state.network.actor[0]["weight"])


def test_equal_returns_change_nothing():
    settings = ARSSettings(directions=8)
    state, directions = start(settings)
    state, metrics = ars.update(state, directions, jnp.full(16, -3.0), jnp.float32(STEP_SIZE), settings)
    assert not np.any(state.network.actor[0]["weight"])
    assert np.isfinite([*metrics.values()]).all()


def test_the_weights_with_the_highest_return_are_found():
    settings = ARSSettings(directions=16, top_directions=8)
    goal = np.random.default_rng(0).normal(size=(OBSERVATION, ACTION)).astype(np.float32)
    state = ars.init(jax.random.PRNGKey(0), OBSERVATION, ACTION, LINEAR)
    for _ in range(300):
        state, directions = ars.sample_directions(state, settings)
        weights = ars.candidate_actors(state, directions, jnp.arange(32), jnp.float32(0.05))[0]["weight"]
        state, _ = ars.update(
            state, directions, -jnp.square(weights - goal).sum((1, 2)), jnp.float32(STEP_SIZE), settings
        )
    np.testing.assert_allclose(state.network.actor[0]["weight"], goal, atol=0.2)


def test_variances_have_a_floor():
    normaliser = init_normaliser(2)._replace(variance=jnp.array([1e-4, 4.0]))
    floored = ARSSettings(variance_floor=0.01).acting_statistics(normaliser)
    np.testing.assert_allclose(floored.variance, [0.01, 4.0])
