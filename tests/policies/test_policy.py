"""The policy's answers: their form, their bounds, and that training and prediction are one computation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.errors import InputError
from surefoot.policies.networks import PolicySettings
from surefoot.policies.normaliser import Normaliser, prepare
from surefoot.policies.policy import Controller, Policy, new_policy, to_bounds

LOW, HIGH = np.array([-1.0, 0.0, -4.0], np.float32), np.array([1.0, 10.0, -2.0], np.float32)


def make_policy(seed: int = 0, low=LOW, high=HIGH, **settings) -> Policy:
    """A policy with random numbers everywhere, so that its actions differ and some meet their bounds."""
    policy = new_policy(jax.random.PRNGKey(seed), "some-task", 5, low, high, PolicySettings(actor=(16,), **settings))
    random = np.random.default_rng(seed)
    network = jax.tree.map(
        lambda x: jnp.asarray(random.normal(scale=0.5, size=x.shape), jnp.float32), policy.controller.network
    )
    normaliser = Normaliser(jnp.asarray(random.normal(size=5), jnp.float32), jnp.full(5, 4.0), jnp.float32(100))
    policy.controller = Controller(network, normaliser)
    return policy


def observations(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=(count, 5))


def test_predict_returns_documented_shapes_and_types() -> None:
    policy = make_policy()
    one, state = policy.predict(observations(1)[0])
    assert (one.shape, one.dtype, state) == ((3,), np.float32, None)
    many, state = policy.predict(observations(7))
    assert (many.shape, many.dtype, state) == ((7, 3), np.float32, None)
    assert one.flags.writeable and many.flags.writeable
    assert policy.action_size == 3


@pytest.mark.parametrize("std", ["parameter", "state_dependent"])
@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_a_single_prediction_equals_its_row_of_a_batch(std: str, squash: str) -> None:
    policy = make_policy(std=std, squash=squash)
    many = policy.predict(observations(20))[0]
    for row, observation in enumerate(observations(20)):
        np.testing.assert_allclose(policy.predict(observation)[0], many[row], rtol=1e-5, atol=1e-5)


def test_deterministic_predictions_repeat() -> None:
    policy, same = make_policy(), make_policy()
    first = policy.predict(observations(20))[0]
    assert len(np.unique(first, axis=0)) > 10
    np.testing.assert_array_equal(policy.predict(observations(20))[0], first)
    np.testing.assert_array_equal(same.predict(observations(20), None, None, True)[0], first)


def test_lists_and_doubles_are_accepted() -> None:
    policy = make_policy()
    observation = observations(1)[0].astype(np.float32)
    expected = policy.predict(observation)[0]
    for form in (observation.tolist(), observation.astype(np.float64), jnp.asarray(observation)):
        np.testing.assert_array_equal(policy.predict(form)[0], expected)


def test_samples_have_the_mean_and_std_of_the_gaussian() -> None:
    unbounded = np.full(3, np.inf, np.float32)
    policy = make_policy(low=-unbounded, high=unbounded)
    network = dataclasses.replace(policy.controller.network, log_std=jnp.log(jnp.array([0.1, 0.5, 2.0])))
    policy.controller = policy.controller._replace(network=network)
    policy._generator = np.random.default_rng(0)
    observation = observations(1)[0]
    sample = policy.predict(np.tile(observation, (20_000, 1)), deterministic=False)[0]
    np.testing.assert_allclose(sample.std(0), [0.1, 0.5, 2.0], rtol=0.03)
    np.testing.assert_allclose(sample.mean(0), policy.predict(observation)[0], atol=0.06)
    single = policy.predict(observation, deterministic=False)[0]
    assert single.shape == (3,)
    assert (single != policy.predict(observation, deterministic=False)[0]).all()


@pytest.mark.parametrize("deterministic", [True, False])
def test_actions_are_within_the_bounds(deterministic: bool) -> None:
    action = make_policy().predict(observations(500) * 10, deterministic=deterministic)[0]
    assert (action >= LOW).all() and (action <= HIGH).all()
    assert (action == LOW).any() and (action == HIGH).any()


@pytest.mark.parametrize("squash", ["clip", "tanh"])
@pytest.mark.parametrize("std", ["parameter", "scheduled", "state_dependent"])
@pytest.mark.parametrize("normalise", [True, False])
def test_training_and_prediction_compute_equal_actions(squash: str, std: str, normalise: bool) -> None:
    policy = make_policy(squash=squash, std=std, normalise_observations=normalise)
    x = observations(64).astype(np.float32)
    expected = policy.predict(x)[0]

    @jax.jit
    def in_training(controller: Controller, x: jax.Array, noise: jax.Array | None) -> jax.Array:
        return to_bounds(controller.action(x, noise), LOW, HIGH)

    # Compiled with noise, the mean may be rounded differently.
    sampled = in_training(policy.controller, x, jnp.zeros((64, 3)))
    np.testing.assert_allclose(sampled, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(in_training(policy.controller, x, None), expected)
    noise = np.random.default_rng(2).normal(size=(64, 3)).astype(np.float32)
    policy._generator = np.random.default_rng(3)
    drawn = np.random.default_rng(3).standard_normal((64, 3), np.float32)
    sampled = in_training(policy.controller, x, drawn)
    np.testing.assert_allclose(policy.predict(x, deterministic=False)[0], sampled, rtol=1e-5, atol=1e-6)
    assert not np.allclose(in_training(policy.controller, x, noise), expected)


def test_observations_are_normalised_only_if_the_settings_say_so() -> None:
    statistics = Normaliser(jnp.full(2, 3.0), jnp.full(2, 4.0), jnp.float32(9))
    x = jnp.array([[5.0, 1.0]])
    np.testing.assert_array_equal(prepare(PolicySettings(normalise_observations=False), statistics, x), x)
    np.testing.assert_allclose(prepare(PolicySettings(), statistics, x), [[1, -1]], rtol=1e-6)
    np.testing.assert_allclose(prepare(PolicySettings(observation_clip=0.5), statistics, x), [[0.5, -0.5]], rtol=1e-6)


@pytest.mark.parametrize(
    "observation, message",
    [
        (np.zeros(4), "an observation of 'some-task' has 5 numbers; got shape (4,)"),
        (np.zeros((2, 6)), "an observation of 'some-task' has 5 numbers; got shape (2, 6)"),
        (np.zeros((1, 2, 5)), "an observation of 'some-task' has 5 numbers; got shape (1, 2, 5)"),
        (0.0, "an observation of 'some-task' has 5 numbers; got shape ()"),
        ("walk", "an observation must be 5 numbers"),
        (None, "an observation of 'some-task' has 5 numbers; got shape ()"),
        ([[1, 2], [3]], "an observation must be 5 numbers"),
        ({"joint": 1.0}, "an observation must be 5 numbers"),
        ([0, 0, np.nan, 0, 0], "the observation holds numbers that are not finite"),
        ([0, 0, np.inf, 0, 0], "the observation holds numbers that are not finite"),
        ([0, 0, 1e39, 0, 0], "the observation holds numbers that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_an_invalid_observation_is_refused_in_one_line(observation, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_policy().predict(observation)
    assert str(caught.value) == message


def test_minus_one_and_one_map_to_the_bounds() -> None:
    sample = jnp.array([[-1.0] * 3, [0.0] * 3, [1.0] * 3, [-7.0] * 3, [7.0] * 3])
    middle = (LOW + HIGH) / 2
    np.testing.assert_allclose(to_bounds(sample, LOW, HIGH), [LOW, middle, HIGH, LOW, HIGH])


def test_values_without_finite_bounds_are_unchanged() -> None:
    low = np.array([-np.inf, 0.0, -np.inf, -1.0], np.float32)
    high = np.array([np.inf, np.inf, 5.0, 1.0], np.float32)
    sample = jnp.array([[-30.0, -30.0, -30.0, -30.0], [30.0, 30.0, 30.0, 30.0], [0.5, 0.5, 0.5, 0.5]])
    expected = [[-30, 0, -30, -1], [30, 30, 5, 1], [0.5, 0.5, 0.5, 0.5]]
    np.testing.assert_array_equal(to_bounds(sample, low, high), expected)


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(-1e6, 1e6, width=32),
    width=st.floats(2**-10, 2e6, width=32),
    sample=st.floats(-1e10, 1e10, width=32),
)
def test_every_sample_is_mapped_within_the_bounds(low: float, width: float, sample: float) -> None:
    lower = np.array([low], np.float32)
    upper = np.nextafter(np.float32(lower + np.float32(width)), np.float32(np.inf))
    result = np.asarray(to_bounds(jnp.array([sample], jnp.float32), lower, upper))
    assert np.isfinite(result).all()
    assert (lower <= result).all() and (result <= upper).all()
