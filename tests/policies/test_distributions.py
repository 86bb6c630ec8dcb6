"""Independent Gaussians against SciPy's."""

import jax.numpy as jnp
import numpy as np
import scipy.stats

from surefoot.policies.distributions import entropy, log_probability


def test_log_probability_is_that_of_independent_gaussians() -> None:
    random = np.random.default_rng(0)
    action, mean, per_row = random.normal(size=(3, 20, 3))
    for log_std in (per_row[0], per_row):
        found = log_probability(jnp.asarray(action), jnp.asarray(mean), jnp.asarray(log_std))
        wanted = scipy.stats.norm.logpdf(action, mean, np.exp(log_std)).sum(1)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_entropy_is_that_of_independent_gaussians() -> None:
    std = np.array([[0.5, 3.0], [0.01, 1.0]])
    wanted = scipy.stats.norm.entropy(scale=std).sum(1)
    np.testing.assert_allclose(entropy(jnp.log(std)), wanted, rtol=1e-5)
    np.testing.assert_allclose(entropy(jnp.log(std[0])), wanted[0], rtol=1e-5)
