"""Distributions over actions: independent Gaussians, and Gaussians squashed by tanh."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Gaussian(NamedTuple):
    """Independent Gaussians: mean (..., A), and log_std (..., A), or (A,) if it does not depend on the observation."""

    mean: jax.Array
    log_std: jax.Array

    def sample(self, noise: jax.Array) -> jax.Array:
        """Return samples (..., A) from standard normal noise (..., A)."""
        return self.mean + jnp.exp(self.log_std) * noise

    def mode(self) -> jax.Array:
        """Return the most probable actions, (..., A)."""
        return self.mean

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Return the log density, (...,), of actions (..., A)."""
        distance = (action - self.mean) * jnp.exp(-self.log_std)
        return -jnp.sum(0.5 * jnp.square(distance) + self.log_std + 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self) -> jax.Array:
        """Return the differential entropy, (...,) or, if the standard deviation is shared, ()."""
        return jnp.sum(self.log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)


class TanhGaussian(NamedTuple):
    """Tanh of independent Gaussians of that mean and log_std (Haarnoja et al. 2018, arXiv 1812.05905, appendix C)."""

    mean: jax.Array
    log_std: jax.Array

    def sample(self, noise: jax.Array) -> jax.Array:
        """Return samples (..., A) in [-1, 1] from standard normal noise (..., A)."""
        return jnp.tanh(Gaussian(*self).sample(noise))

    def mode(self) -> jax.Array:
        """Return tanh of the Gaussian's mean, (..., A)."""
        return jnp.tanh(self.mean)

    def log_prob(self, noise: jax.Array) -> jax.Array:
        """Return the log density, (...,), of the actions `sample(noise)`.

        The argument is the noise because tanh cannot be inverted accurately near its limits. For the same reason
        log(1 - tanh(x)^2) is computed as 2 (log 2 - x - softplus(-2 x)).
        """
        x = Gaussian(*self).sample(noise)
        log_slope = jnp.sum(2 * (math.log(2) - x - jax.nn.softplus(-2 * x)), axis=-1)
        return Gaussian(*self).log_prob(x) - log_slope


Distribution = Gaussian | TanhGaussian
