"""Running mean and variance of observations, merged batch by batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Normaliser(NamedTuple):
    """Statistics of all observations seen.

    Attributes:
        mean: (D,) float32.
        variance: (D,) float32, of the population.
        count: () float32, how many observations; or (D,), where some values have been seen for less long than others.
    """

    mean: jax.Array
    variance: jax.Array
    count: jax.Array


def init_normaliser(size: int) -> Normaliser:
    """Start with mean 0, variance 1 and no observation."""
    return Normaliser(jnp.zeros(size), jnp.ones(size), jnp.zeros(()))


def merge(statistics: Normaliser, batch: jax.Array, weight: jax.Array | None = None) -> Normaliser:
    """Add a batch (..., D), each row counted `weight` (...,) times (0 leaves a row out).

    Two sets of statistics are merged by the pairwise formula of Chan, Golub and LeVeque (1979), which subtracts means
    before it squares and so keeps its digits when the mean is far from zero.
    """
    batch = batch.reshape(-1, batch.shape[-1])
    weight = jnp.ones(len(batch)) if weight is None else weight.reshape(-1)
    count = weight.sum()
    safe_count = jnp.maximum(count, 1)
    # Shifted by a row of the batch, so that large offsets cancel before anything is summed.
    shift = batch[0]
    mean = shift + (weight @ (batch - shift)) / safe_count
    variance = (weight @ jnp.square(batch - mean)) / safe_count
    total = jnp.maximum(statistics.count + count, 1)
    share = count / total
    delta = mean - statistics.mean
    merged = Normaliser(
        mean=statistics.mean + delta * share,
        variance=statistics.variance * (1 - share) + variance * share + jnp.square(delta) * share * (1 - share),
        count=statistics.count + count,
    )
    return jax.tree.map(lambda new, old: jnp.where(count > 0, new, old), merged, statistics)


def normalise(statistics: Normaliser, observation: jax.Array, clip: float) -> jax.Array:
    """Return (..., D) observations with mean 0 and deviation 1, clipped to plus and minus `clip`."""
    scaled = (observation - statistics.mean) * jax.lax.rsqrt(statistics.variance + 1e-8)
    return jnp.clip(scaled, -clip, clip)
