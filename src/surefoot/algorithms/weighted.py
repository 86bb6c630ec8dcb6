"""Statistics of arrays in which some entries do not count."""

import jax
import jax.numpy as jnp


def weighted_variance(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Return the variance, (), of an array whose entries count `weight` times each."""
    share = weight / jnp.maximum(weight.sum(), 1)
    mean = jnp.sum(x * share)
    return jnp.sum(jnp.square(x - mean) * share)


def standardise(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Give an array mean 0 and deviation 1, its entries counted `weight` times each."""
    mean = jnp.sum(x * weight) / jnp.maximum(weight.sum(), 1)
    return (x - mean) * jax.lax.rsqrt(weighted_variance(x, weight) + 1e-8)
