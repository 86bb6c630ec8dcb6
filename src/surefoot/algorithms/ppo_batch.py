"""What PPO's updates learn from: transitions and, for bodies whose left and right are alike, their mirror images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from surefoot.algorithms.ppo_settings import PPOSettings
from surefoot.policies.symmetry import Mirror


class Batch(NamedTuple):
    """M transitions ready to learn from, normalised.

    `target` is the return that the value should have foretold; `weight` is 0 where a transition is not real. Where
    something is made of a symmetry, observations are (M, 2, D), each beside its mirror image; else (M, D).
    """

    observation: jax.Array
    action: jax.Array
    log_probability: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    weight: jax.Array


def built_in(mirror: Mirror | None, settings: PPOSettings) -> Mirror | None:
    """Return the symmetry that the networks themselves have: the task's if they are to be equivariant, else None."""
    return mirror if settings.symmetry == "averaged" else None


def uses_images(settings: PPOSettings) -> bool:
    """Tell whether the loss asks what the networks make of mirror images on their own."""
    return settings.symmetry in ("augment", "loss")


def image_metrics(settings: PPOSettings) -> tuple[str, ...]:
    """Name what is told of mirror images, where the loss asks for them."""
    return ("loss/symmetry",) if uses_images(settings) else ()


def with_images(batch: Batch, mirror: Mirror, settings: PPOSettings) -> Batch:
    """Return M transitions and, after them, their M mirror images.

    An image is observed and done in the mirror and worth the same: advantage, target and old value are the transition's
    own. So is the old log-probability: it is that of the unmirrored action under the policy that acted, and not what
    that policy would have given to the mirrored one, as in RSL-RL. For whoever had acted so is the mirror image of that
    policy, and gives the mirrored action this very probability (Mittal et al. 2024, arXiv 2403.04359).

    Where only `settings.symmetry = "loss"` asks for images they have no weight.
    """
    weight = batch.weight if settings.symmetry == "augment" else jnp.zeros_like(batch.weight)
    image = batch._replace(observation=batch.observation[:, 1], action=mirror.action(batch.action), weight=weight)
    own = batch._replace(observation=batch.observation[:, 0])
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), own, image)


def asymmetry(mean: jax.Array, mirror: Mirror, share: jax.Array) -> jax.Array:
    """Return the mirror loss (), the mean square of net(M o) - M net(o) (Yu, Turk, Liu 2018, arXiv 1801.08093).

    Args:
        mean: (2 M, A), the policy's means of what `with_images` returned.
        mirror: the symmetry.
        share: (M,), how much each transition counts; together 1.
    """
    own, image = jnp.split(mean, 2)
    return jnp.square(image - mirror.action(own)).mean(-1) @ share
