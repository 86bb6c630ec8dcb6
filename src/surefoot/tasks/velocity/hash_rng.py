"""Random numbers that are a hash of what they are for, so that nothing needs to be drawn in any order.

An episode draws one key from its copy's generator. Whatever it needs by chance from then on follows from that key, from
the use it is for, and from a count, such as that of steps: all copies at once in a few operations, whatever their
number, in NumPy or inside a compiled JAX function, to the same bits. The state of chance is then the key alone.

The hash is PCG's output function on a linear congruential step (Jarzynski and Olano 2020, "Hash Functions for GPU
Rendering", Journal of Computer Graphics Techniques 9(3)).
"""

from typing import Any

import numpy as np

_MULTIPLIER, _INCREMENT, _MIXER = np.uint32(747796405), np.uint32(2891336453), np.uint32(277803737)
_FOUR, _EIGHT, _TWENTY_TWO, _TWENTY_EIGHT = (np.uint32(shift) for shift in (4, 8, 22, 28))


def hashed(bits: Any) -> Any:
    """Return the hash of each of the uint32 `bits`, an array of NumPy or JAX."""
    state = bits * _MULTIPLIER + _INCREMENT
    word = ((state >> ((state >> _TWENTY_EIGHT) + _FOUR)) ^ state) * _MIXER
    return (word >> _TWENTY_TWO) ^ word


def uniform(key: Any, use: int, count: Any, size: int, xp: Any) -> Any:
    """Return (K, size) float32 numbers, uniform from -1 to 1, of 2^24 values.

    Args:
        key: (K,) uint32.
        use: what they are for, a number of its own for each purpose.
        count: (K,) uint32, which of its draws this is.
        size: how many numbers.
        xp: `numpy` or `jax.numpy`.
    """
    seed = hashed(hashed(hashed(key) + np.uint32(use)) + count)
    bits = hashed(seed[:, None] + hashed(xp.arange(size, dtype=xp.uint32)))
    return (bits >> _EIGHT).astype(xp.float32) * np.float32(2.0**-23) - np.float32(1)
