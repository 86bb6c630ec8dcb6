"""Distributions over actions against SciPy's."""

import jax.numpy as jnp
import numpy as np
import scipy.stats

from surefoot.policies.distributions import Gaussian, TanhGaussian


def test_log_prob_is_that_of_independent_gaussians() -> None:
    random = np.random.default_rng(0)
    action, mean, per_row = random.normal(size=(3, 20, 3))
    for log_std in (per_row[0], per_row):
        log_prob = Gaussian(jnp.asarray(mean), jnp.asarray(log_std)).log_prob(jnp.asarray(action))
        expected = scipy.stats.norm.logpdf(action, mean, np.exp(log_std)).sum(1)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-4)


def test_entropy_is_that_of_independent_gaussians() -> None:
    std = np.array([[0.5, 3.0], [0.01, 1.0]])
    expected = scipy.stats.norm.entropy(scale=std).sum(1)
    mean = jnp.zeros((2, 2))
    np.testing.assert_allclose(Gaussian(mean, jnp.log(std)).entropy(), expected, rtol=1e-5)
    np.testing.assert_allclose(Gaussian(mean, jnp.log(std[0])).entropy(), expected[0], rtol=1e-5)


def test_samples_shift_and_scale_the_noise_and_are_squashed_by_tanh() -> None:
    random = np.random.default_rng(1)
    mean, log_std, noise = (jnp.asarray(x, jnp.float32) for x in random.normal(size=(3, 20, 3)))
    expected = mean + np.exp(log_std) * noise
    np.testing.assert_allclose(Gaussian(mean, log_std).sample(noise), expected, rtol=1e-5)
    np.testing.assert_allclose(TanhGaussian(mean, log_std).sample(noise), np.tanh(expected), rtol=1e-5)
    np.testing.assert_array_equal(Gaussian(mean, log_std).mode(), mean)
    np.testing.assert_array_equal(TanhGaussian(mean, log_std).mode(), jnp.tanh(mean))


def test_squashed_log_prob_follows_the_change_of_variables() -> None:
    random = np.random.default_rng(2)
    mean, noise = random.normal(size=(2, 200, 3))
    log_std = 0.3 * random.normal(size=3)
    x = mean + np.exp(log_std) * noise
    expected = scipy.stats.norm.logpdf(x, mean, np.exp(log_std)).sum(1) - np.log(1 - np.tanh(x) ** 2).sum(1)
    distribution = TanhGaussian(*(jnp.asarray(part, jnp.float32) for part in (mean, log_std)))
    np.testing.assert_allclose(distribution.log_prob(jnp.asarray(noise, jnp.float32)), expected, rtol=1e-3, atol=1e-3)


def test_squashed_log_prob_stays_finite_near_the_limits() -> None:
    distribution = TanhGaussian(jnp.full(2, 30.0), jnp.zeros(2))
    assert np.isfinite(distribution.log_prob(jnp.zeros(2)))
