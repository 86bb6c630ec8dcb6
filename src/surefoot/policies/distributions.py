"""Independent Gaussians over actions."""

import math

import jax
import jax.numpy as jnp


def log_probability(action: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """Log density, (...,), of actions (..., A) under mean (..., A) and log standard deviation (..., A) or (A,)."""
    distance = (action - mean) * jnp.exp(-log_std)
    return -jnp.sum(0.5 * jnp.square(distance) + log_std + 0.5 * math.log(2 * math.pi), axis=-1)


def entropy(log_std: jax.Array) -> jax.Array:
    """Differential entropy, (...,), of log standard deviation (..., A)."""
    return jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e), axis=-1)


def squashed_log_probability(noise: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """Log density, (...,), of actions tanh(mean + std noise) (Haarnoja et al. 2018, arXiv 1812.05905, appendix C).

    log(1 - tanh(x)^2) is written as 2 (log 2 - x - softplus(-2 x)), which does not lose its digits for large x.
    """
    x = mean + jnp.exp(log_std) * noise
    shrinking = jnp.sum(2 * (math.log(2) - x - jax.nn.softplus(-2 * x)), axis=-1)
    return log_probability(x, mean, log_std) - shrinking
