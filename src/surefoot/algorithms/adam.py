"""Steps of Adam for actor, critics and temperature of DDPG's family, with weight decay of either kind."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from surefoot.algorithms.ddpg_settings import DDPGSettings

ADAM: Any = optax.scale_by_adam()
# What no gradient holds in place.
_NOT_DECAYED = ("batch_mean", "batch_variance", "log_std")


def adam_step(parameters: Any, moments: Any, slope: Any, rate: Any, decay: float, settings: DDPGSettings) -> Any:
    """Make one step of Adam (Kingma and Ba 2015) with weight decay of either kind.

    Args:
        parameters: a tree.
        moments: Adam's moments of it.
        slope: the gradient, a tree like `parameters`.
        rate: (), the step size.
        decay: the pull of the parameters towards zero.
        settings: the kind of decay and the limit on the gradient.

    Returns:
        The next parameters and moments.
    """
    if settings.max_grad_norm:
        factor = jnp.minimum(1, settings.max_grad_norm / (optax.tree.norm(slope) + 1e-12))
        slope = jax.tree.map(lambda g: factor * g, slope)
    if decay and settings.optimizer == "adam":
        slope = _with_decay(slope, parameters, decay)
    step, moments = optax.scale_by_adam(b1=settings.adam_b1).update(slope, moments)
    if decay and settings.optimizer == "adamw":
        step = _with_decay(step, parameters, decay)
    return jax.tree.map(lambda p, s: p - rate * s, parameters, step), moments


def _with_decay(change: Any, parameters: Any, decay: float) -> Any:
    """Add the pull towards zero, but not to what no gradient holds in place."""

    def add(path: tuple, step: jax.Array, parameter: jax.Array) -> jax.Array:
        return step if jax.tree_util.keystr(path[-1:], simple=True) in _NOT_DECAYED else step + decay * parameter

    return jax.tree_util.tree_map_with_path(add, change, parameters)
