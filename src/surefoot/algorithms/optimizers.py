"""Adam (Kingma and Ba 2015, arXiv 1412.6980) with weight decay and a limit on the gradient, and one step of it."""

from typing import Any

import jax
import optax

# Parameters without a gradient, or exempt from weight decay.
_NOT_DECAYED = ("batch_mean", "batch_variance", "log_std")


def adam(
    b1: float = 0.9,
    eps: float = 1e-8,
    max_grad_norm: float = 0.0,
    weight_decay: float = 0.0,
    decoupled_decay: bool = False,
) -> Any:
    """Return Adam as an Optax optimizer, whose state has the same structure for all arguments.

    `descend` applies the learning rate.

    Args:
        b1: beta 1.
        eps: epsilon.
        max_grad_norm: limit on the global norm of the gradient; 0: none.
        weight_decay: factor of the weights that is added to the gradient.
        decoupled_decay: add it to the step instead (AdamW, Loshchilov and Hutter 2019).
    """
    nothing = optax.identity()
    decay = optax.add_decayed_weights(weight_decay, _is_decayed) if weight_decay else nothing
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm) if max_grad_norm else nothing,
        nothing if decoupled_decay else decay,
        optax.scale_by_adam(b1=b1, eps=eps),
        decay if decoupled_decay else nothing,
    )


def descend(
    optimizer: Any, parameters: Any, grads: Any, opt_state: optax.OptState, learning_rate: jax.Array | float
) -> tuple[Any, optax.OptState]:
    """Take one step and return the next parameters and the optimizer's state."""
    updates, opt_state = optimizer.update(grads, opt_state, parameters)
    return jax.tree.map(lambda p, u: p - learning_rate * u, parameters, updates), opt_state


def moving_average(average: Any, new: Any, decay: float) -> Any:
    """Return an exponential moving average of pytrees (Polyak and Juditsky 1992)."""
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, average, new)


def _is_decayed(parameters: Any) -> Any:
    """Return whether weight decay applies, as a tree like `parameters`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) not in _NOT_DECAYED, parameters
    )
