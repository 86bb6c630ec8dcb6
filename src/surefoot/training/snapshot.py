"""A policy as it is at one moment of a training."""

import jax
import numpy as np

from surefoot.policies.networks import Parameters
from surefoot.policies.normaliser import Normaliser
from surefoot.policies.policy import Policy
from surefoot.policies.symmetry import Mirror
from surefoot.recipes.recipe import Recipe
from surefoot.tasks.catalogue import TaskInfo


def snapshot(
    recipe: Recipe, info: TaskInfo, parameters: Parameters, normaliser: Normaliser, mirror: Mirror | None = None
) -> Policy:
    """Copy parameters and statistics into a policy that no later update touches."""
    return Policy(
        info.name,
        info.observation_size,
        info.action_low,
        info.action_high,
        recipe.policy,
        jax.tree.map(np.array, parameters),
        jax.tree.map(np.array, normaliser),
        info.options,
        mirror=mirror,
    )
