"""Counter-based random numbers: a hash of key, stream and count.

Each episode draws one key from its environment's generator. All its random numbers follow from the key, a stream (one
per purpose) and a count such as the step. They do not depend on the order of drawing, take a few array operations for
all environments, and are the same bits in NumPy and in compiled JAX functions. The key is the only state.

The hash is PCG's output function on a linear congruential step (Jarzynski and Olano 2020, "Hash Functions for GPU
Rendering", Journal of Computer Graphics Techniques 9(3)).
"""

from typing import Any

import numpy as np

_MULTIPLIER, _INCREMENT, _MIXER = np.uint32(747796405), np.uint32(2891336453), np.uint32(277803737)
_FOUR, _EIGHT, _TWENTY_TWO, _TWENTY_EIGHT = (np.uint32(shift) for shift in (4, 8, 22, 28))


def hashed(bits: Any) -> Any:
    """Return the hash of each element of `bits`, a uint32 array of NumPy or JAX."""
    state = bits * _MULTIPLIER + _INCREMENT
    word = ((state >> ((state >> _TWENTY_EIGHT) + _FOUR)) ^ state) * _MIXER
    return (word >> _TWENTY_TWO) ^ word


def uniform(key: Any, stream: int, count: Any, size: int, xp: Any) -> Any:
    """Return (K, size) float32 numbers, uniform in [-1, 1) with a resolution of 2^-23.

    They depend on the key, (K,) uint32, on the stream, the number of the purpose, and on the count, (K,) uint32, of the
    draw within the stream. `xp` is `numpy` or `jax.numpy`.
    """
    seed = hashed(hashed(hashed(key) + np.uint32(stream)) + count)
    bits = hashed(seed[:, None] + hashed(xp.arange(size, dtype=xp.uint32)))
    return (bits >> _EIGHT).astype(xp.float32) * np.float32(2.0**-23) - np.float32(1)
