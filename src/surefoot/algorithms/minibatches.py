"""Shuffled minibatches of equal size, for a compiled loop over them."""

import math
from typing import Any

import jax
import jax.numpy as jnp


class Minibatches:
    """A batch cut anew into shuffled minibatches for each epoch.

    All fields stand side by side in one table, so that shuffling is one gather. A row of zeros fills up the last
    minibatch of an epoch: a field that counts rows, such as a weight, is 0 there.

    Args:
        batch: a NamedTuple of arrays (M,) or (M, ...).
        size: rows per minibatch, at most M of them.
    """

    def __init__(self, batch: Any, size: int) -> None:
        self._rows = len(batch[0])
        self._size = min(size, self._rows)
        self._count = math.ceil(self._rows / self._size)
        self._kind = type(batch)
        self._shapes = [x.shape[1:] for x in batch]
        flat = [x.reshape(self._rows, -1) for x in batch]
        self._splits = [sum(x.shape[1] for x in flat[: i + 1]) for i in range(len(flat) - 1)]
        self._table = jnp.pad(jnp.concatenate(flat, axis=1), ((0, 1), (0, 0)))

    def shuffled(self, key: jax.Array) -> jax.Array:
        """Return one epoch's minibatches as rows, (minibatches, size, K), each row of the batch in one of them."""
        padding = self._count * self._size - self._rows
        order = jnp.pad(jax.random.permutation(key, self._rows), (0, padding), constant_values=self._rows)
        return self._table[order].reshape(self._count, self._size, -1)

    def read(self, rows: jax.Array) -> Any:
        """Return one minibatch's rows, (size, K), as fields again."""
        parts = jnp.split(rows, self._splits, axis=1)
        return self._kind(*(x.reshape(len(rows), *shape) for x, shape in zip(parts, self._shapes, strict=True)))
