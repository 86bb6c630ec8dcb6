"""Shuffled minibatches of equal size for a compiled loop, and masked means."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from surefoot.packing import Layout


class Minibatches:
    """A batch, divided into shuffled minibatches once per epoch.

    All fields are packed into one table, so that a shuffle is one gather. The last minibatch of an epoch is filled up
    with rows of zeros, whose `mask` is therefore 0.

    Args:
        batch: a NamedTuple of arrays (M,) or (M, ...).
        size: rows per minibatch, at most M of them.
    """

    def __init__(self, batch: Any, size: int) -> None:
        fields: dict[str, jax.Array] = batch._asdict()
        self._type = type(batch)
        self._rows = len(batch[0])
        self._size = min(size, self._rows)
        self._count = math.ceil(self._rows / self._size)
        self._shapes = {name: x.shape[1:] for name, x in fields.items()}
        self._layout = Layout(**{name: math.prod(shape) for name, shape in self._shapes.items()})
        flat = {name: x.reshape(self._rows, -1) for name, x in fields.items()}
        self._table = jnp.pad(self._layout.pack(flat, jnp), ((0, 1), (0, 0)))

    def shuffle(self, key: jax.Array) -> jax.Array:
        """Return the packed minibatches of one epoch, (minibatches, size, K); each row of the batch occurs once."""
        padding = self._count * self._size - self._rows
        order = jnp.pad(jax.random.permutation(key, self._rows), (0, padding), constant_values=self._rows)
        return self._table[order].reshape(self._count, self._size, -1)

    def unpack(self, packed: jax.Array) -> Any:
        """Return one packed minibatch, (size, K), as a batch."""
        fields: dict[str, Any] = self._layout.unpack(packed)
        return self._type(**{name: x.reshape(len(packed), *self._shapes[name]) for name, x in fields.items()})


def mask_weights(mask: jax.Array) -> jax.Array:
    """Return weights, of sum 1, for a mean over the entries whose mask is 1."""
    return mask / jnp.maximum(mask.sum(), 1)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the mean, (), of the entries of x (M,) or () whose mask (M,) is 1."""
    return jnp.broadcast_to(x, mask.shape) @ mask_weights(mask)


def masked_variance(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the variance, (), of the entries whose mask is 1."""
    weights = mask_weights(mask)
    mean = jnp.sum(x * weights)
    return jnp.sum(jnp.square(x - mean) * weights)


def standardise(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Scale an array so that the entries whose mask is 1 have mean 0 and standard deviation 1."""
    mean = jnp.sum(x * mask) / jnp.maximum(mask.sum(), 1)
    return (x - mean) * jax.lax.rsqrt(masked_variance(x, mask) + 1e-8)
