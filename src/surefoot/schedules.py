"""How a step size changes over a training."""

import math

import jax
import jax.numpy as jnp

# RSL-RL's bounds and factor for its KL-adaptive rate (rsl_rl/algorithms/ppo.py).
_SLOWEST, _FASTEST = 1e-5, 1e-2
_FACTOR = 1.5


def scheduled(kind: str, start: float, end: float, progress: jax.Array) -> jax.Array:
    """Return the value that a "linear", "cosine" or "exponential" schedule has at `progress` in [0, 1]."""
    progress = jnp.clip(progress, 0, 1)
    if kind == "exponential":
        return start * (end / start) ** progress
    share = 0.5 * (1 - jnp.cos(math.pi * progress)) if kind == "cosine" else progress
    return start + share * (end - start)


def adapted_to_kl(rate: jax.Array, kl: jax.Array, desired: float) -> jax.Array:
    """Slow down when the policy moved more than twice as far as desired, speed up when less than half as far."""
    factor = jnp.where(kl > 2 * desired, 1 / _FACTOR, jnp.where(kl < 0.5 * desired, _FACTOR, 1.0))
    return jnp.clip(rate * factor, _SLOWEST, _FASTEST)
