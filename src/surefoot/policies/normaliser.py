"""Running mean and variance of observations, merged batch by batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from surefoot.policies.networks import PolicySettings
from surefoot.policies.symmetry import Mirror


class Normaliser(NamedTuple):
    """Statistics of all observations so far.

    Attributes:
        mean: (D,) float32.
        variance: (D,) float32, of the population.
        count: number of observations, () float32, or (D,) if some values were added to the observation later.
    """

    mean: jax.Array
    variance: jax.Array
    count: jax.Array


def init_normaliser(size: int) -> Normaliser:
    """Return mean 0, variance 1 and count 0."""
    return Normaliser(jnp.zeros(size), jnp.ones(size), jnp.zeros(()))


def merge(statistics: Normaliser, batch: jax.Array, weight: jax.Array | None = None) -> Normaliser:
    """Add a batch (..., D) with weights (...,); rows of weight 0 are ignored.

    Uses the pairwise formula of Chan, Golub and LeVeque (1979), which stays accurate if the mean is far from zero.
    """
    batch = batch.reshape(-1, batch.shape[-1])
    weight = jnp.ones(len(batch)) if weight is None else weight.reshape(-1)
    count = weight.sum()
    safe_count = jnp.maximum(count, 1)
    # Subtract a row of the batch, so that large offsets cancel before the sums.
    shift = batch[0]
    mean = shift + (weight @ (batch - shift)) / safe_count
    variance = (weight @ jnp.square(batch - mean)) / safe_count
    return combine(statistics, Normaliser(mean, variance, count))


def combine(statistics: Normaliser, others: Normaliser) -> Normaliser:
    """Return the statistics of two sets of observations together; the count of `others` is () float32."""
    mean, variance, count = others
    total = jnp.maximum(statistics.count + count, 1)
    fraction = count / total
    delta = mean - statistics.mean
    merged = Normaliser(
        mean=statistics.mean + delta * fraction,
        variance=statistics.variance * (1 - fraction)
        + variance * fraction
        + jnp.square(delta) * fraction * (1 - fraction),
        count=statistics.count + count,
    )
    return jax.tree.map(lambda new, old: jnp.where(count > 0, new, old), merged, statistics)


def update_normaliser(statistics: Normaliser, observation: jax.Array, tied: Mirror | None = None) -> Normaliser:
    """Add observations (..., D); for tied networks also their mirror images, each with weight 1/2."""
    if tied is None:
        return merge(statistics, observation)
    pairs = tied.pairs(observation)
    return symmetrise(merge(statistics, pairs, jnp.full(pairs.shape[:-1], 0.5)), tied)


def symmetrise(statistics: Normaliser, mirror: Mirror) -> Normaliser:
    """Average statistics with those of mirrored observations."""
    index = mirror.observation_index
    mean, variance, count = statistics
    return Normaliser(
        (mean + mirror.observation(mean)) / 2,
        (variance + variance[index]) / 2,
        count if count.ndim == 0 else (count + count[index]) / 2,
    )


def normalise(statistics: Normaliser, observation: jax.Array, clip: float) -> jax.Array:
    """Scale observations (..., D) to mean 0 and standard deviation 1, clipped to plus and minus `clip`."""
    scaled = (observation - statistics.mean) * jax.lax.rsqrt(statistics.variance + 1e-8)
    return jnp.clip(scaled, -clip, clip)


def prepare(
    settings: PolicySettings, statistics: Normaliser, observation: jax.Array, mirror: Mirror | None = None
) -> jax.Array:
    """Return network inputs for raw observations (..., D): normalised ones if the settings say so.

    With a mirror they are pairs (..., 2, D), the observation and its mirror image. The raw observation is mirrored,
    before normalisation, so that an averaged network is symmetric for any statistics.
    """
    if mirror is not None:
        observation = mirror.pairs(observation)
    if not settings.normalise_observations:
        return observation
    return normalise(statistics, observation, settings.observation_clip)
